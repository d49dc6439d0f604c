SUMMARY = "Makes a board a Tapkeep appliance"
DESCRIPTION = "The data partition: grown to the card, checked, mounted, and in it captures, journal, host keys, clock and \
machine id; keys and configuration taken from the boot partition; hardware watchdog."
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

MOUNTS = "\
    boot.mount \
    data.mount \
    var-lib-systemd-timesync.mount \
    var-lib-tapkeep.mount \
    var-log.mount \
"
SERVICES = "tapkeep-data tapkeep-import tapkeep-machine-id"

SRC_URI = "\
    ${@' '.join('file://' + name for name in d.getVar('MOUNTS').split())} \
    ${@' '.join('file://%s file://%s.service' % (name, name) for name in d.getVar('SERVICES').split())} \
    file://tapkeep-grow \
    file://appliance.toml \
    file://journald.conf \
    file://system.conf \
    file://tapkeep-service.conf \
    file://tmpfiles.conf \
"

inherit features_check systemd

REQUIRED_DISTRO_FEATURES = "systemd"

SYSTEMD_SERVICE:${PN} = "\
    data.mount \
    tapkeep-data.service \
    tapkeep-import.service \
    tapkeep-machine-id.service \
    var-lib-systemd-timesync.mount \
    var-lib-tapkeep.mount \
    var-log.mount \
"

do_install() {
    install -d ${D}${systemd_system_unitdir} ${D}${libexecdir}/tapkeep
    for unit in ${MOUNTS}; do
        install -m 0644 ${UNPACKDIR}/$unit ${D}${systemd_system_unitdir}
    done
    for service in ${SERVICES}; do
        install -m 0755 ${UNPACKDIR}/$service ${D}${libexecdir}/tapkeep
        install -m 0644 ${UNPACKDIR}/$service.service ${D}${systemd_system_unitdir}
    done
    install -m 0755 ${UNPACKDIR}/tapkeep-grow ${D}${libexecdir}/tapkeep

    install -D -m 0644 ${UNPACKDIR}/appliance.toml ${D}${datadir}/tapkeep/appliance.toml
    install -D -m 0644 ${UNPACKDIR}/journald.conf ${D}${systemd_unitdir}/journald.conf.d/20-tapkeep.conf
    install -D -m 0644 ${UNPACKDIR}/system.conf ${D}${systemd_unitdir}/system.conf.d/20-tapkeep.conf
    install -D -m 0644 ${UNPACKDIR}/tapkeep-service.conf ${D}${systemd_system_unitdir}/tapkeep.service.d/20-appliance.conf
    install -D -m 0644 ${UNPACKDIR}/tmpfiles.conf ${D}${nonarch_libdir}/tmpfiles.d/tapkeep-appliance.conf
    sed -i -e 's|@libexecdir@|${libexecdir}|' -e 's|@datadir@|${datadir}|' \
        ${D}${systemd_system_unitdir}/*.service ${D}${nonarch_libdir}/tmpfiles.d/tapkeep-appliance.conf

    install -d ${D}${sysconfdir}/tapkeep
    ln -s /run/tapkeep-appliance/tapkeep.toml ${D}${sysconfdir}/tapkeep/tapkeep.toml
}

FILES:${PN} += "\
    ${datadir}/tapkeep \
    ${nonarch_libdir}/tmpfiles.d \
    ${systemd_system_unitdir} \
    ${systemd_unitdir}/journald.conf.d \
    ${systemd_unitdir}/system.conf.d \
"

RDEPENDS:${PN} = "\
    e2fsprogs-e2fsck \
    e2fsprogs-resize2fs \
    openssh-keygen \
    tapkeep \
    util-linux-fsck \
    util-linux-partx \
    util-linux-sfdisk \
"
RCONFLICTS:${PN} = "tapkeep-conf"
