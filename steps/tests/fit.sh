#!/bin/sh
# Makes programs that print and do just enough for a host to be fit: sessions leave out or replace some of them.
# rustc appears to compile: the file after -o exists afterwards.
fake rustc "case \$1 in --version) echo 'rustc 1.95.0 (x 2026-01-01)';; esac
while [ \$# -gt 0 ]; do [ \"\$1\" = -o ] && : >\"\$2\"; shift; done"
fake cargo "echo 'cargo 1.95.0'"
fake git "echo 'git version 2.39.5'"
fake ssh-keygen "echo 'ssh-keygen -Y sign' >&2; exit 1"
fake setpriv "echo 'setpriv from util-linux 2.38.1'"
fake podman "case \$1 in
info) echo '4.3.1, storage overlay, cgroups v2';;
unshare) echo '0 1000 1'; echo '1 100000 65536';;
esac"
fake runc "echo 'runc version 1.1.5'"
fake crun "echo 'crun version 1.8.1'"
for arch in x86_64 aarch64; do fake qemu-system-$arch "echo 'QEMU emulator version 10.0.2'"; done
fake qemu-img "echo 'qemu-img version 10.0.2'"
fake mmdebstrap "echo 'mmdebstrap 1.3.5'"
fake mke2fs "echo 'mke2fs 1.47.0' >&2"
fake dpkg-query "echo 'dpkg-query 1.21.22'"
fake unshare "echo 'unshare from util-linux 2.38.1'"
fake mount "echo 'mount from util-linux 2.38.1'"
fake gpg "echo 'gpg (GnuPG) 2.2.40'"
fake arch-test "exit 0"
