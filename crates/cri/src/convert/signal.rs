//! Stop signals: an enumeration in the interface, a name in images and the engine.

use tonic::Status;

use crate::api::Signal;

/// The signal's name as the engine has it (`SIGRTMIN+3`); `None` leaves the choice to image and runtime.
pub(crate) fn name(number: i32) -> Result<Option<String>, Status> {
    let signal: Signal = super::known(number, "stop signal")?;
    if signal == Signal::RuntimeDefault {
        return Ok(None);
    }
    let name = signal.as_str_name();
    Ok(Some(name.replace("PLUS", "+").replace("MINUS", "-")))
}

/// The enumeration's value of a name or number; the default for one that it lacks.
pub(crate) fn value(name: &str) -> Signal {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(signal) = bare.parse().ok().and_then(by_number) {
        return signal;
    }
    let spelled = format!("SIG{}", bare.replace('+', "PLUS").replace('-', "MINUS"));
    Signal::from_str_name(&spelled).unwrap_or(Signal::RuntimeDefault)
}

fn by_number(number: i32) -> Option<Signal> {
    let signal = nix::sys::signal::Signal::try_from(number).ok()?;
    Signal::from_str_name(signal.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values() {
        assert_eq!(name(0).unwrap(), None);
        for (signal, text) in [
            (Signal::Sigterm, "SIGTERM"),
            (Signal::Sigrtminplus3, "SIGRTMIN+3"),
            (Signal::Sigrtmaxminus1, "SIGRTMAX-1"),
        ] {
            assert_eq!(name(signal.into()).unwrap().as_deref(), Some(text));
            assert_eq!(value(text), signal);
        }
        assert_eq!(value("usr1"), Signal::Sigusr1);
        assert_eq!(value("15"), Signal::Sigterm);
        assert_eq!(value("nonsense"), Signal::RuntimeDefault);
        assert!(name(99).is_err());
    }
}
