#!/usr/bin/env bash
# Runs a command of this folder on a kernel of its own, where the hierarchy of cgroups v2 is nobody else's: a virtual
# machine with Debian's kernel that sees the files of this one, read only, and has folders for temporary files of its own.
#   containers/own_kernel.sh COMMAND [ARGUMENT…]
# Gives the command's exit status. Where there can be no such machine it says why, and ends with 0.
# The kernel is fetched once, from the distribution's packages, into build/own-kernel.
set -euo pipefail
cd "$(dirname "$0")/.."

LIMIT=${OWN_KERNEL_LIMIT:-900} # seconds for all of it
MEMORY=2048                    # megabytes
here=$PWD
kernel=$here/build/own-kernel

skip() { echo "own-kernel: skipped: $*" >&2; exit 0; }
die() { echo "own-kernel: $*" >&2; exit 1; }

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || skip "it needs Linux on x86_64"
# Some machines have a /dev/kvm that runs special kernels only: their processors show no virtualization.
accelerator=tcg,thread=multi
[ -r /dev/kvm ] && [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo && accelerator=kvm

packages=()
command -v qemu-system-x86_64 >/dev/null || packages+=(qemu-system-x86)
busybox=$(command -v /bin/busybox /usr/bin/busybox | head -n 1 || true)
[ -n "$busybox" ] && ! ldd "$busybox" >/dev/null 2>&1 || packages+=(busybox-static)
if [ ${#packages[@]} -gt 0 ]; then
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || skip "install ${packages[*]} (Debian's names)"
    echo "own-kernel: installing ${packages[*]} from the distribution's packages"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >/dev/null 2>&1 ||
        skip "${packages[*]} cannot be installed"
    busybox=$(command -v /bin/busybox /usr/bin/busybox | head -n 1)
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ ! -e "$kernel/vmlinuz" ]; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || skip "Debian's kernel package cannot be fetched"
    name=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends: linux-image-/ {print $2; exit}')
    [ -n "$name" ] || skip "there is no package linux-image-amd64"
    echo "own-kernel: fetching $name"
    (cd "$work" && apt-get download -qq "$name" >/dev/null 2>&1) || skip "$name cannot be fetched"
    dpkg-deb -x "$work/$name"_*.deb "$work/unpacked"
    rm -rf "$kernel"
    mkdir -p "$(dirname "$kernel")" "$work/kernel"
    mv "$work"/unpacked/boot/vmlinuz-* "$work/kernel/vmlinuz"
    mv "$work"/unpacked/lib/modules/* "$work/kernel/modules"
    mv "$work/kernel" "$kernel"
fi

# What the kernel needs to see the files of this machine, in the order in which it needs them.
root=$work/initramfs
mkdir -p "$root"/{bin,modules,proc,sys,new}
cp "$busybox" "$root/bin/busybox"
number=10
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci netfs fscache 9pnet 9pnet_virtio 9p; do
    found=$(find "$kernel/modules" -name "$module.ko*" | head -n 1)
    [ -z "$found" ] && continue # built in
    case $found in *.ko) ;; *) die "$found is packed, which this does not know" ;; esac
    cp "$found" "$root/modules/$number-$module.ko"
    number=$((number + 1))
done
# The command runs as root, in this folder, with this folder's place also where that is below /tmp. Its home is there, too:
# what programs write to a home would have no place in one that can only be read.
printf '#!/bin/sh\nexport PATH=%q HOME=/tmp PYTHONDONTWRITEBYTECODE=1 %s\ncd %q || exit 1\n' \
    "$PATH" "${CI:+CI=$CI}" "$here" >"$root/run"
printf '%q ' "$@" >>"$root/run"
cat >"$root/init" <<INIT
#!/bin/busybox sh
/bin/busybox mkdir -p /dev
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod \$module || echo "own-kernel: no \$module"; done
options=trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro
mount -t 9p -o \$options files /new || poweroff -f
mount -t proc proc /new/proc
mount -t sysfs sys /new/sys
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
mount -t devtmpfs dev /new/dev
mkdir -p /new/dev/pts /new/dev/shm
mount -t devpts devpts /new/dev/pts
for folder in /dev/shm /tmp /run /var/tmp; do
    [ -d /new\$folder ] && mount -t tmpfs -o mode=1777 tmpfs /new\$folder
done
mkdir -p "/new$here"
mount -t 9p -o \$options here "/new$here"
ifconfig lo 127.0.0.1 up
cp /run /new/tmp/run
chmod +x /new/tmp/run
chroot /new /bin/sh /tmp/run
echo "own-kernel: exit status \$?"
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | "$busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initramfs.gz"

share() { echo "local,path=$1,mount_tag=$2,security_model=none,readonly=on,multidevs=remap"; }
timeout --foreground "$LIMIT" qemu-system-x86_64 -accel "$accelerator" -cpu max -smp 2 -m "$MEMORY" -nodefaults -no-user-config \
    -display none -serial stdio -no-reboot -kernel "$kernel/vmlinuz" -initrd "$work/initramfs.gz" \
    -virtfs "$(share / files)" -virtfs "$(share "$here" here)" -append "console=ttyS0 quiet panic=-1" </dev/null |
    sed -u 's,\r,,g' | tee "$work/out" || true
status=$(sed -n 's/^own-kernel: exit status \([0-9]*\)$/\1/p' "$work/out" | tail -n 1)
[ -n "$status" ] || die "the machine ended without an exit status (see above)"
exit "$status"
