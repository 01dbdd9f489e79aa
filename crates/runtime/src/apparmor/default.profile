# What a container without a profile of its own may do: everything but what reaches the host. Written out in full,
# so that it loads where AppArmor's own include files are missing.
profile rctr-default flags=(attach_disconnected,mediate_deleted) {
  # What it is limited to by capabilities, namespaces and mounts is enough.
  network,
  capability,
  file,
  umount,

  # The host's processes, the runtime among them, may signal, trace and look at those of containers; these may only
  # do it among themselves.
  signal (receive) peer=unconfined,
  signal (receive) peer="@LOADER@",
  signal (send, receive) set=("exists"),
  signal (send, receive) peer=rctr-default,
  ptrace (readby, tracedby),
  ptrace (read, trace) peer=rctr-default,

  deny mount,

  # Of /proc: processes, and the parameters of the IPC namespace.
  deny /proc/* w,
  deny /proc/{[^0-9s]*,s[^y]*,sy[^s]*,sys?*}/** w,
  deny /proc/sys/{[^k]**,k[^e]**,kernel/{[^s]**,s[^eh]**,se[^m]**,sh[^m]**}} w,
  deny /proc/{sysrq-trigger,kcore} rwklx,

  # Of /sys: cgroups.
  deny /sys/{[^f]*,f[^s]*}/** wklx,
  deny /sys/fs/{[^c]*,c[^g]*,cg[^r]*}/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
