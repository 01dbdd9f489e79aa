/* bare LOWER UPPER WORK MERGED [net] - what a container costs when nothing but the kernel does it: namespaces, an
 * overlay, /proc, pivot_root, exec of /bin/true, and the wait for it. The floor beneath every runtime. */
#define _GNU_SOURCE
#include <err.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 5)
        errx(2, "usage: bare LOWER UPPER WORK MERGED [net]");
    int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | (argc > 5 ? CLONE_NEWNET : 0);
    if (unshare(flags))
        err(1, "unshare");
    pid_t pid = fork();
    if (pid < 0)
        err(1, "fork");
    if (pid == 0) {
        char options[4096];
        snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", argv[1], argv[2], argv[3]);
        if (mount("", "/", NULL, MS_REC | MS_SLAVE, NULL) || mount("overlay", argv[4], "overlay", 0, options))
            err(1, "mount overlay");
        if (chdir(argv[4]) || mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
            err(1, "mount proc");
        if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
            err(1, "pivot_root");
        char *command[] = {"/bin/true", NULL};
        execv(command[0], command);
        err(127, "exec");
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        errx(1, "the command did not end by itself");
    return WEXITSTATUS(status);
}
