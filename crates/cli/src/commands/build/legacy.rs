//! Flags of Docker's first builder, which BuildKit takes and leaves alone: scripts still have them.

use clap::Args;

#[derive(Debug, Default, Args)]
pub struct Legacy {
    #[arg(long, hide = true)]
    compress: bool,
    #[arg(long, hide = true)]
    force_rm: bool,
    #[arg(long, hide = true)]
    rm: bool,
    #[arg(long, hide = true, value_name = "TYPE")]
    isolation: Option<String>,
    #[arg(long, hide = true, value_name = "OPTION")]
    security_opt: Vec<String>,
    #[arg(long, hide = true)]
    squash: bool,
    #[arg(long, short, hide = true, value_name = "BYTES")]
    memory: Option<String>,
    #[arg(long, hide = true, value_name = "BYTES")]
    memory_swap: Option<String>,
    #[arg(long, short, hide = true, value_name = "N")]
    cpu_shares: Option<i64>,
    #[arg(long, hide = true, value_name = "N")]
    cpu_period: Option<i64>,
    #[arg(long, hide = true, value_name = "N")]
    cpu_quota: Option<i64>,
    #[arg(long, hide = true, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    #[arg(long, hide = true, value_name = "LIST")]
    cpuset_mems: Option<String>,
}

impl Legacy {
    /// What is to be said of those that were given. Of those that ask for what is so anyway (nothing is left of a step, and
    /// no context is sent) there is nothing to say.
    pub fn warnings(&self) -> Vec<String> {
        let in_docker_s_words = [
            (
                self.isolation.is_some(),
                "isolation flag is deprecated with BuildKit.",
            ),
            (
                !self.security_opt.is_empty(),
                "security-opt flag is deprecated. \"RUN --security=insecure\" should be used with BuildKit.",
            ),
            (
                self.squash,
                "experimental flag squash is removed with BuildKit. You should squash inside build using a multi-stage \
                 Dockerfile for efficiency.",
            ),
        ];
        let limits = [
            (self.memory.is_some(), "memory"),
            (self.memory_swap.is_some(), "memory-swap"),
            (self.cpu_shares.is_some(), "cpu-shares"),
            (self.cpu_period.is_some(), "cpu-period"),
            (self.cpu_quota.is_some(), "cpu-quota"),
            (self.cpuset_cpus.is_some(), "cpuset-cpus"),
            (self.cpuset_mems.is_some(), "cpuset-mems"),
        ];
        let given = |(given, text): &(bool, &'static str)| given.then_some(*text);
        let mut warnings: Vec<String> = in_docker_s_words
            .iter()
            .filter_map(given)
            .map(str::to_owned)
            .collect();
        let limits = limits.iter().filter_map(given);
        warnings.extend(limits.map(|flag| {
            format!("--{flag} limits nothing: steps have no limits of their own, as with BuildKit.")
        }));
        warnings
    }
}
