#!/bin/sh
# Loads the accelerator on a KV260 (Ubuntu 22.04 for Kria, or PetaLinux with xmutil); run there, as root, in the folder
# with bitnet.bit.bin, bitnet.dtso and shell.json. The kernel module u-dma-buf must be installed (docs/boards/kv260.md).
set -eu
firmware=/lib/firmware/xilinx/bitnet
for file in bitnet.bit.bin bitnet.dtso shell.json; do
    [ -f "$file" ] || { echo "$file is missing: copy build/kv260 here after Vivado has run" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "run this as root: it loads firmware and kernel modules" >&2; exit 2; }
modprobe uio_pdrv_genirq of_id=generic-uio
modprobe u-dma-buf || { echo "the kernel module u-dma-buf is not installed" >&2; exit 3; }
mkdir -p "$firmware"
cp bitnet.bit.bin shell.json "$firmware/"
dtc -@ -q -I dts -O dtb -o "$firmware/bitnet.dtbo" bitnet.dtso
xmutil unloadapp || true
xmutil loadapp bitnet
tries=50
until grep -qx bitnet /sys/class/uio/uio*/name 2>/dev/null && [ -e /dev/bitnet-memory ]; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "the overlay is loaded, but its devices did not appear: see dmesg" >&2; exit 3; }
    sleep 0.1
done
echo "loaded: registers and $(cat /sys/class/u-dma-buf/bitnet-memory/size) bytes of memory at" \
    "$(cat /sys/class/u-dma-buf/bitnet-memory/phys_addr)"
