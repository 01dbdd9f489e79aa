"""The Dockerfiles that build_compare.py builds twice."""

import gzip
import io
import tarfile
from typing import NamedTuple


class File(NamedTuple):
    data: bytes
    mode: int = 0o644
    uid: int = 0


class Dir(NamedTuple):
    mode: int = 0o755


class Link(NamedTuple):
    target: str


def archive(*members, packed=True) -> bytes:
    """A tar archive of (name, content, mode, uid); content None is a directory, a string beginning with `->` a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content, mode, uid in members:
            member = tarfile.TarInfo(name)
            member.mode, member.uid, member.gid = mode, uid, uid
            if content is None:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            elif content.startswith("->"):
                member.type, member.linkname = tarfile.SYMTYPE, content[2:]
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content.encode()))
    return gzip.compress(out.getvalue(), mtime=0) if packed else out.getvalue()


TREE = {"d/a.txt": "a", "d/b.md": "b", "d/sub/c.txt": "c", "d/sub/deep/d.txt": "d", "top.txt": "t", "z.txt": "z"}
MODES = {"m": Dir(0o700), "m/f": File(b"f", 0o640, 1000), "m/x": File(b"x", 0o4755), "m/e": Dir(0o2750), "m/l": Link("f"), "m/gone": Link("/nowhere")}
TAR = archive(("in", None, 0o750, 5), ("in/f", "f", 0o600, 7), ("in/l", "->f", 0o777, 0), ("top", "t", 0o644, 0))


def case(dockerfile: str, **options) -> dict:
    return {"dockerfile": dockerfile, **options}


def scratch(body: str, **options) -> dict:
    return case("FROM scratch\n" + body, **options)


def busybox(body: str, **options) -> dict:
    return case("FROM busybox\n" + body, **options)


CASES = {
    # What the configuration says.
    "config all": busybox(
        "LABEL a=1 b=\"two words\" c='$d'\nENV X=1 Y=\"2 3\" Z=a\\ b\nENV old form value\nEXPOSE 80 53/udp 9000-9002\n"
        "VOLUME /v1 /v2\nVOLUME [\"/v3\"]\nUSER 24:25\nWORKDIR /w//x/\nWORKDIR ../y\nSTOPSIGNAL SIGUSR1\n"
        "HEALTHCHECK --interval=5s --timeout=1m30s --retries=3 --start-period=2s CMD curl -f x || exit 1\n"
        "ONBUILD RUN echo x\nONBUILD COPY . /\nSHELL [\"/bin/sh\", \"-ec\"]\nMAINTAINER Me <me@x>\nENTRYPOINT echo e\nCMD [\"a\", \"b\"]\n"),
    "config label flag": busybox("LABEL a=1 b=2\n", labels=["b=3", "c=4"]),
    "config signal number": busybox("STOPSIGNAL 9\n"),
    "config signal bad": busybox("STOPSIGNAL SIGNOPE\n"),
    "config healthcheck none": busybox("HEALTHCHECK NONE\n"),
    "config healthcheck exec": busybox("HEALTHCHECK --start-interval=1s CMD [\"true\"]\n"),
    "config expose forms": busybox("ARG P=81/tcp\nEXPOSE $P 82/TCP 83/sctp 100-102/udp\nEXPOSE 80\n"),
    "config expose bad": busybox("EXPOSE foo\n"),
    "config volume json": busybox("ENV D=/x\nVOLUME $D /a/../b\nVOLUME [\"$D/y\", \"/c d\"]\n"),
    "config cmd shell": busybox("CMD echo \"$X\"   y\n"),
    "config cmd bad json": busybox("CMD ['a', 'b']\nENTRYPOINT [ \"a\" ]\n"),
    "config json number": busybox("CMD [\"a\", 1]\n"),
    "config entrypoint drops cmd": case(
        "FROM busybox AS a\nCMD [\"x\"]\nFROM a\nENTRYPOINT [\"e\"]\n"),
    "config entrypoint keeps own cmd": busybox("CMD [\"x\"]\nENTRYPOINT [\"e\"]\n"),
    "config empty cmd": busybox("ENTRYPOINT []\nCMD []\n"),
    "config maintainer": busybox("MAINTAINER a\nMAINTAINER b c\n"),
    "config shell inherits": case("FROM busybox AS a\nSHELL [\"/bin/sh\", \"-xc\"]\nFROM a\nRUN echo hi > /hi\nCMD x\n"),
    "config user expand": busybox("ARG U=daemon\nUSER $U\nRUN id > /tmp/id\n"),
    "config env order": busybox("ENV B=1 A=2\nENV B=3\nENV PATH=/x:$PATH\n"),
    "config scratch": scratch("LABEL x=y\n"),
    "config scratch env": scratch("ENV A=b\nCOPY top.txt /\n", files=TREE),
    # Variables.
    "vars scopes": case(
        "ARG G=global\nARG T=${G}x\nFROM busybox AS a\nARG G\nARG L=local\nENV E=$G-$L-$T\nRUN echo \"$G $L $T $E\" > /o\n"
        "FROM a\nRUN echo \"$G $L $T $E\" > /o2\nARG G=again\nRUN echo \"$G\" > /o3\n"),
    "vars given": busybox("ARG A=1\nARG B\nARG C=${A}3\nRUN echo \"$A $B $C\" > /o\n", args=["A=9", "B=8", "UNUSED=1"]),
    "vars env over arg": busybox("ENV X=env\nARG X=arg\nRUN echo $X > /o\nENV Y=$X\nARG Z=z\nENV Z=env$Z\nRUN echo $Z > /z\n"),
    "vars old value": busybox("ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\nRUN echo $abc $def $ghi > /o\n"),
    "vars forms": busybox(
        "ENV U= S=foobarfoo P=/a/b/c.tar.gz\nENV A=${N:-d} B=${U:-d} C=${U-d} D=${S:+p} E=${N:+p} F=${S#foo} G=${S%foo} H=${P##*/} I=${P%%.*} "
        "J=${S/foo/x} K=${S//foo/x} L=\\$S M='$S' O=\"$S\" Q=${N:-${S}} R=${P#*/}\nRUN env | grep -vE 'OTEL|TRACEP|HOSTN' | sort > /o\n"),
    "vars question": busybox("ENV A=${N:?must be set}\n"),
    "vars platform": busybox("ARG TARGETPLATFORM\nARG TARGETOS\nARG TARGETARCH\nARG TARGETVARIANT\nARG BUILDPLATFORM\nRUN env | grep -E 'TARGET|BUILD' | sort > /o\n"),
    "vars several args": busybox("ARG A=1 B=2 C\nRUN echo $A$B$C > /o\n", args=["C=3"]),
    "vars from": case("ARG V=latest\nFROM busybox:${V} AS x\nFROM x\nCOPY --from=x /etc/passwd /p\n"),
    "vars proxy": busybox("RUN env | grep -i proxy > /o\n", args=["HTTP_PROXY=http://p", "no_proxy=x"]),
    "vars unset arg": busybox("ARG A\nRUN echo \"[$A]$B${C:-c}\" > /o\nENV A=b\nRUN echo $A > /o2\n"),
    "vars exec form": busybox("ENV A=b\nRUN [\"sh\", \"-c\", \"echo $A > /o\"]\nCMD [\"echo\", \"$A\"]\n"),
    "vars label quotes": busybox("ENV A=b\nLABEL x=\"$A\" y='$A' \"z $A\"=q\n"),
    "vars escape": case("# escape=`\nFROM busybox\nENV A=b`\n  C=d\nRUN echo `\n  $A > /o\n"),
    # RUN.
    "run forms": busybox("RUN echo a > /a && \\\n  # comment\n  echo b > /b\nRUN [\"touch\", \"/c\"]\nRUN   echo   d   >  /d  \n"),
    "run fails": busybox("RUN echo before && exit 3\n"),
    "run whiteouts": busybox("RUN mkdir -p /d/e && touch /d/f /d/e/g\nRUN rm -r /d && mkdir /d && touch /d/new\nRUN rm /etc/passwd\n"),
    "run heredocs": busybox(
        "RUN <<EOF\necho one > /one\nX=2; echo $X > /two\nEOF\nRUN <<-'E'\n\techo tab > /tab\n\tE\nRUN cat <<A > /a && cat <<B > /b\nin $HOME a\nA\nin b\nB\n"
        "RUN <<EOF sh\necho sh > /sh\nEOF\nRUN <<EOF\n#!/bin/sh -e\necho bang $0 > /bang\nEOF\n"),
    "run scratch leavings": case("FROM busybox AS b\nFROM scratch\nCOPY --from=b /bin/busybox /bin/sh\nRUN echo x > /x\n"),
    "run environment": busybox("ENV HOME=/h\nRUN env | grep -vE 'OTEL|TRACEP|HOSTN' | sort > /o; pwd >> /o; hostname >> /o; id >> /o; umask >> /o\nUSER nobody\nRUN env | grep -vE 'OTEL|TRACEP|HOSTN' | sort > /tmp/o2\n"),
    "run user home": busybox("USER daemon\nRUN env | grep -vE 'OTEL|TRACEP|HOSTN' | sort > /tmp/o; id >> /tmp/o\nUSER 1234\nRUN env | grep -vE 'OTEL|TRACEP|HOSTN' | sort > /tmp/o2; id >> /tmp/o2\n"),
    "run etc files": busybox("RUN cat /etc/hosts | grep -c localhost > /o; test -s /etc/resolv.conf && echo yes >> /o\nRUN rm -f /etc/hostname; true\n"),
    "run cache mount": busybox("RUN --mount=type=cache,target=/c,uid=5,mode=0700 echo x > /c/f; stat -c '%u %a' /c > /o\nRUN --mount=type=cache,target=/c cat /c/f > /o2\n",
                              intended=("", "a cache has one owner; BuildKit has one cache for each owner and mode")),
    "run bind mount": busybox("RUN --mount=target=/src cat /src/top.txt > /o; ls /src > /l\nRUN --mount=type=bind,source=d,target=/d,rw echo changed > /d/a.txt; cat /d/a.txt > /o2\nRUN --mount=source=d/a.txt,target=/one cat /one > /o3\n", files=TREE),
    "run bind from stage": case("FROM busybox AS a\nRUN mkdir /m; echo x > /m/f\nFROM busybox\nRUN --mount=from=a,source=/m,target=/m cat /m/f > /o\n"),
    "run tmpfs mount": busybox("RUN --mount=type=tmpfs,target=/t,size=1m df /t | tail -1 | awk '{print $2}' > /o; touch /t/gone\n"),
    "run secret": busybox("RUN --mount=type=secret,id=s cat /run/secrets/s > /o; stat -c '%u %g %a' /run/secrets/s >> /o\nRUN --mount=type=secret,id=s,target=/k,mode=0444,uid=7 stat -c '%u %g %a' /k > /o2\n"
                          "RUN --mount=type=secret,id=s,env=SECRET echo $SECRET > /o3; ls /run/secrets >> /o3 2>&1; true\n",
                          files={"secret": "hush"}, secrets=["id=s,src={context}/secret"], intended=("^steps", "the variable of a secret is shown by its name")),
    "run secret missing": busybox("RUN --mount=type=secret,id=none,required=true true\n"),
    "run secret optional": busybox("RUN --mount=type=secret,id=none ls /run/secrets > /o 2>&1; true\n"),
    "run network none": busybox("RUN --network=none ls /sys/class/net > /o\n"),
    "run devices": busybox("RUN ls /dev | grep -v otel | sort > /o; ls -l /dev/null | cut -c1-10 >> /o\n"),
    "run xattrs": busybox("RUN mkdir -m 1777 /t; mkfifo -m 600 /p; ln -s /t /l; touch /h1; ln /h1 /h2; chown 5:6 /h1\n"),
    # COPY.
    "copy file forms": busybox("COPY top.txt /\nCOPY top.txt /new\nCOPY top.txt /dir/\nCOPY top.txt z.txt /two/\nWORKDIR /w\nCOPY top.txt .\nCOPY top.txt rel/x\nCOPY [\"top.txt\", \"/with space/\"]\n", files=TREE),
    "copy two without slash": busybox("COPY top.txt z.txt /two\n", files=TREE, intended=("^exit", "what BuildKit's documentation forbids is an error")),
    "copy directory": busybox("COPY d /new\nCOPY d/ /slash/\nCOPY d/sub /etc\nCOPY . /all\n", files=TREE),
    "copy modes": scratch("COPY m /m\nCOPY m/f m/x /one/\n", files=MODES),
    "copy to existing dir": busybox("RUN mkdir -m 700 /ex && chown 5:5 /ex\nCOPY m /ex\nCOPY m/e /ex/e\n", files=MODES),
    "copy chown": busybox("COPY --chown=24 top.txt /a/b\nCOPY --chown=24: top.txt /c/\nCOPY --chown=daemon:bin d /d/\nCOPY --chown=:7 top.txt /g\nCOPY --chown=nobody m /m\n", files=TREE | MODES),
    "copy chown unknown": busybox("COPY --chown=nosuch top.txt /a\n", files=TREE, intended=("^exit", "what BuildKit's documentation calls a failure is one")),
    "copy chmod": busybox("COPY --chmod=600 d /d\nCOPY --chmod=u=rwX,go=r d /e\nCOPY --chmod=0755 top.txt /x/y/\nCOPY --chmod=go-r,u+x m /m\nCOPY --chmod=4711 top.txt /s\n", files=TREE | MODES),
    "copy chmod bad": busybox("COPY --chmod=999 top.txt /x\n", files=TREE, intended=("^steps", "the step that fails is shown")),
    "copy wildcards": busybox("COPY *.txt /w/\nCOPY d/*/*.txt /x/\nCOPY d/?.md /y/\nCOPY d/[ab].* /z/\nCOPY d/* /q/\n", files=TREE),
    "copy wildcard none": busybox("COPY nothing*.x /w/\n", files=TREE),
    "copy wildcard none and one": busybox("COPY nothing*.x top.txt /w/\n", files=TREE),
    "copy double star": busybox("COPY **/*.txt /w/\n", files=TREE),
    "copy missing": busybox("COPY nosuch /\n", files=TREE),
    "copy clamped": busybox("COPY ../top.txt /a\nCOPY /z.txt /b\nCOPY ../../d/./a.txt /c\n", files=TREE),
    "copy exclude": busybox("COPY --exclude=*.md d /a\nCOPY --exclude=sub d /b\nCOPY --exclude=**/deep d /c\nCOPY --exclude=*.txt *.txt /e/\nCOPY --exclude=*.txt --exclude=!a.txt d /f\n", files=TREE),
    "copy parents": busybox("COPY --parents d/sub/c.txt d/a.txt /p/\nCOPY --parents d/./sub/deep /q/\nCOPY --parents d/*/c.txt /r\nCOPY --parents top.txt /s/\nCOPY --parents m/f /t/\n", files=TREE | MODES),
    "copy link": busybox("COPY --link top.txt /a/b\nCOPY --link d /etc/d\nCOPY --link --chown=7:8 --chmod=700 d /l/m/\n", files=TREE),
    "copy onto symlinks": busybox("RUN mkdir /real && ln -s /real /link && touch /target && ln -s /target /flink\nCOPY d /link/\nCOPY top.txt /flink\nCOPY top.txt /link/in/x\n", files=TREE),
    "copy link onto symlinks": busybox("RUN mkdir /real && ln -s /real /link\nCOPY --link d /link/\n", files=TREE),
    "copy dir over file": busybox("RUN touch /f\nCOPY d /f\n", files=TREE),
    "copy file over dir": busybox("RUN mkdir /f\nCOPY top.txt /f\n", files=TREE),
    "copy dir in dir over file": busybox("RUN mkdir /f && touch /f/sub\nCOPY d /f\n", files=TREE),
    "copy symlink source": busybox("COPY ltop /a\nCOPY ldir /b\nCOPY ldir/a.txt /c\nCOPY links /links\n",
                                   files=TREE | {"ltop": Link("top.txt"), "ldir": Link("d"), "links": Dir(), "links/x": Link("../top.txt"), "links/abs": Link("/etc")}),
    "copy heredocs": busybox("ENV V=val\nCOPY <<EOF /a\nsay $V \"q\" \\$V\nEOF\nCOPY <<'EOF' /b\nsay $V\nEOF\nCOPY <<-X <<Y /dir/\n\ttab\n\tX\ny\nY\nCOPY --chmod=755 --chown=3 <<E top.txt /m/\ne\nE\n", files=TREE),
    "copy from stages": case("FROM busybox AS one\nRUN mkdir -m 711 /d && touch /d/f && chown 9:9 /d/f && ln -s f /d/l\nFROM scratch AS two\nCOPY --from=one /d /d\nFROM scratch\nCOPY --from=0 /d/ /e/\nCOPY --from=two /d/l /l\nCOPY --from=ONE d/f /f\nCOPY --from=busybox /etc/passwd /p\n"),
    "copy from variable": case("FROM busybox AS one\nFROM scratch\nARG X=one\nCOPY --from=$X /etc/passwd /\n"),
    "copy from unknown": case("FROM scratch\nCOPY --from=nosuchstage /x /\n"),
    "copy hard links": case("FROM busybox AS a\nRUN mkdir /d && touch /d/1 && ln /d/1 /d/2\nFROM scratch\nCOPY --from=a /d /d\n"),
    "copy dot": busybox("WORKDIR /app\nCOPY . .\nCOPY ./d/. /dd/.\nCOPY . /\n", files=TREE),
    "copy expand": busybox("ARG F=top.txt\nENV D=/dest\nCOPY $F ${D}/\nCOPY --chown=${U:-5} $F /x\n", files=TREE, intended=("^steps", "only plain variables are shown with their values")),
    "copy odd names": busybox("COPY \"a b.txt\" /\nCOPY [\"x[1].txt\", \"/y\"]\nCOPY x[[]1].txt /z\n", files={"a b.txt": "s", "x[1].txt": "b"}),
    "copy root name": busybox("COPY d/sub /\nCOPY top.txt /./deep/../x\n", files=TREE),
    "copy empty dir": scratch("COPY e /e\nCOPY --chown=5:5 m/e /f\n", files={"e": Dir(0o700)} | MODES),
    "copy words": busybox("ENV F='a b.txt'\nCOPY $F /one\nCOPY --exclude=$F . /two/\n", files={"a b.txt": "s", "c": "c"}),
    # ADD.
    "add archives": busybox("ADD a.tgz /\nADD a.tar /t/\nADD a.tgz /sub/dir\nADD notar.tgz /n\nADD --chown=11:12 a.tgz /c/\nADD --chmod=700 a.tgz /m/\nADD text.txt a.tar /both/\n",
                            files={"a.tgz": TAR, "a.tar": archive(("x", "x", 0o644, 3), packed=False), "notar.tgz": b"no archive", "text.txt": "t"}),
    "add unpack flag": busybox("ADD --unpack=false a.tgz /f/\nADD --unpack=true a.tgz /t/\n", files={"a.tgz": TAR}),
    "add directory": busybox("ADD d /d\nADD top.txt d/a.txt /x/\n", files=TREE),
    "add archive escapes": busybox("ADD a.tar /in/\n", files={"a.tar": archive(("../out", "x", 0o644, 0), packed=False)}, intended=("^exit", "an archive that leads out is refused")),
    "add archive over link": busybox("RUN mkdir /real && ln -s /real /t\nADD a.tar /t/\n", files={"a.tar": archive(("x", "x", 0o644, 3), packed=False)}),
    # WORKDIR, USER.
    "workdir owner": busybox("WORKDIR /a/b\nUSER daemon\nWORKDIR /tmp/c/d\nWORKDIR /etc\nWORKDIR rel\nUSER 77:88\nWORKDIR /tmp/num\n"),
    "workdir unclean": busybox("WORKDIR /a//b/../c/\nRUN pwd > /o\n"),
    "workdir link": busybox("RUN ln -s /tmp /ln\nWORKDIR /ln/x\nRUN pwd > /o\n"),
    "workdir vars": busybox("ENV D=/x E=y\nWORKDIR $D\nWORKDIR ${E}/z\nRUN pwd > /o\n"),
    "workdir file": busybox("RUN touch /f\nWORKDIR /f\n"),
    # Stages.
    "stages target": case("FROM busybox AS one\nRUN touch /1\nFROM one AS Two\nRUN touch /2\nFROM nosuchimage\nRUN false\n", target="two"),
    "stages target number": case("FROM busybox AS one\nFROM one\n", target="0"),
    "stages shadow scratch": case("FROM busybox AS scratch\nRUN touch /mine\nFROM scratch\nRUN touch /more\n"),
    "stages same name": case("FROM busybox AS a\nRUN touch /1\nFROM busybox AS a\nRUN touch /2\nFROM a\n"),
    "stages args inherited": case("FROM busybox AS a\nARG X=1\nFROM a\nRUN echo $X > /o\n"),
    "stages later": case("FROM scratch\nCOPY --from=later /etc/passwd /\nFROM busybox AS later\n"),
    "stages circle": case("FROM busybox AS a\nCOPY --from=b / /\nFROM busybox AS b\nCOPY --from=a / /\n"),
    "named context": busybox("COPY --from=extra x /\nRUN --mount=from=extra,target=/e cat /e/y/z > /o\n", contexts={"extra": {"x": "x", "y/z": "z"}}),
    "named context stage": case("FROM busybox AS over\nRUN false\nFROM busybox\nCOPY --from=over /x /\n", contexts={"over": {"x": "x"}}),
    "named context base": case("FROM base\nCOPY top.txt /t\n", files=TREE, contexts={"base": {"etc/x": "x"}}, intended=("^(history|steps)", "the context is an entry of its own")),
    # ONBUILD.
    "onbuild base": busybox("ONBUILD ARG A=1\nONBUILD RUN echo $A > /a\nONBUILD COPY top.txt /t\nONBUILD ENV B=c\nENV C=d\n", push="build-compare/onbuild:1", files=TREE),
    "onbuild used": case("FROM {registry}/build-compare/onbuild:1\nRUN cat /a /t > /o\n", files=TREE, args=["A=7"], intended=("^steps", "triggers that make no layer are not counted")),
    "onbuild forbidden": busybox("ONBUILD FROM x\n"),
    "onbuild chained": busybox("ONBUILD ONBUILD RUN x\n"),
    # .dockerignore.
    "ignore": busybox("COPY . /c\n", files=TREE | {".dockerignore": "# c\n*.txt\n!z.txt\nd/sub\n!d/sub/deep\n**/*.md\n/nothing/\n"}),
    "ignore all but": busybox("COPY . /c\n", files=TREE | {".dockerignore": "**\n!d/**/c.txt\n"}),
    "ignore dockerfile": busybox("COPY . /c\n", files=TREE | {".dockerignore": "Dockerfile\n.dockerignore\n"}),
    "ignore own": busybox("COPY . /c\n", files=TREE | {".dockerignore": "d\n", "Dockerfile.dockerignore": "top.txt\n"}),
    "ignore named": busybox("COPY top.txt /c\n", files=TREE | {".dockerignore": "top.txt\n"}),
    "ignore directory named": busybox("COPY d /c\nCOPY d/sub /s\n", files=TREE | {".dockerignore": "d/*\n!d/sub\n"}),
    # What is no Dockerfile.
    "bad instruction": busybox("RUNN x\n"),
    "bad empty": case("# only\n"),
    "bad flag": busybox("COPY --chwon=1 a b\n"),
    "bad no from": case("RUN x\n"),
    "bad arg first": case("ARG X\nENV A=b\nFROM busybox\n"),
    "bad copy one": busybox("COPY x\n"),
    "bad env": busybox("ENV A\n"),
    "bad mount": busybox("RUN --mount=type=nope true\n"),
    "bad from": case("FROM\n"),
    "bad stage name": case("FROM busybox AS 1x\n"),
    "bad platform": case("FROM --platform=nope/nope busybox\nRUN true\n", intended=("^exit", "an image of another platform is refused")),
    "good quirks": case("\ufeff# comment\nfrom busybox as x   \nrun echo a \\\n\n  b > /o\nCMD echo \\\n  # note\n  x\n"),
}



