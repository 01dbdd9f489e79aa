#!/bin/bash
# Prints what tests could leave on this machine, sorted, one a line: mounts, links, cgroups, nft tables, processes,
# directories. `run.sh` compares the answers from before and after.
set -u
{
    awk '$5 ~ /rctr/ {print "mount", $5}' /proc/self/mountinfo
    for link in /sys/class/net/*; do echo "link ${link##*/}"; done
    find /sys/fs/cgroup -type d \( -name '*rctr*' -o -regex '.*/[0-9a-f]\{64\}' \) -printf 'cgroup %p\n'
    nft list tables 2>/dev/null
    nft list chains 2>/dev/null | awk '/^table/ {t = $2 " " $3} /chain/ {print "chain", t, $2}'
    for exe in /proc/[0-9]*/exe; do
        case $(readlink "$exe") in */rctr|*/rctr-monitor|*/rctr\ *|*/rctr-monitor\ *) p=${exe%/exe}; echo "process ${p#/proc/} $(tr '\0' ' ' < "$p/cmdline")";; esac
    done 2>/dev/null
    find "${TMPDIR:-/tmp}" /dev/shm -maxdepth 1 -name '*rctr*' -printf 'file %p\n' 2>/dev/null
    losetup -l -n -O NAME,BACK-FILE 2>/dev/null | awk '/rctr/ {print "loop", $0}'
} | sort
