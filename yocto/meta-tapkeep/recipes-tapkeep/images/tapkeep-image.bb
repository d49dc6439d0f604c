SUMMARY = "Tapkeep appliance: a card that records a tap port"
DESCRIPTION = "A read-only root that boots, takes its keys and its configuration from the boot partition, and records until \
the power goes; everything that lasts lies on /data."
LICENSE = "MIT"

inherit core-image extrausers features_check

REQUIRED_DISTRO_FEATURES = "systemd"

IMAGE_FEATURES += "read-only-rootfs ssh-server-openssh"
IMAGE_INSTALL = "\
    packagegroup-core-boot \
    ethtool \
    iproute2-ip \
    kernel-modules \
    tapkeep \
    tapkeep-appliance \
    tapkeep-network \
    ${CORE_IMAGE_EXTRA_INSTALL} \
"
# tapkeep-appliance brings the configuration.
BAD_RECOMMENDATIONS += "tapkeep-conf"
IMAGE_LINGUAS = ""

# Reads what is recorded and the journal, logs in by key alone, and may not change anything.
EXTRA_USERS_PARAMS = "\
    groupadd --gid 1000 operator; \
    useradd --uid 1000 --gid operator --groups tapkeep,systemd-journal --no-create-home --home-dir /home/operator \
        --shell /bin/sh operator; \
    usermod --password '*' operator; \
"

IMAGE_FSTYPES = "wic.bz2 wic.bmap"
WKS_FILE = "tapkeep.wks"
WIC_CREATE_EXTRA_ARGS = "--no-fstab-update"

# Places that units mount onto; the root cannot be given them later.
make_mount_points() {
    install -d ${IMAGE_ROOTFS}/boot ${IMAGE_ROOTFS}/data ${IMAGE_ROOTFS}/home/operator
    install -d ${IMAGE_ROOTFS}${localstatedir}/lib/tapkeep ${IMAGE_ROOTFS}${localstatedir}/lib/systemd/timesync
}
ROOTFS_POSTPROCESS_COMMAND += "make_mount_points"
