SUMMARY = "The tap port of a Tapkeep appliance: named, listening, silent"
DESCRIPTION = "Configuration of systemd-networkd and systemd-udevd that keeps the tap port without address, promiscuous and \
without offloads."
SECTION = "net"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "\
    file://10-tapkeep-tap.link \
    file://10-tapkeep-tap.network \
"

inherit features_check

REQUIRED_DISTRO_FEATURES = "systemd"

# Which port is the tap port, by udev's ID_PATH (here: whatever is plugged in by USB), and what it is called.
TAPKEEP_TAP_PATH ?= "*-usb-*"
TAPKEEP_TAP_PORT ?= "tap0"

do_install() {
    install -d ${D}${systemd_unitdir}/network
    for file in 10-tapkeep-tap.link 10-tapkeep-tap.network; do
        sed -e 's|@TAP_PATH@|${TAPKEEP_TAP_PATH}|' -e 's|@TAP_PORT@|${TAPKEEP_TAP_PORT}|' \
            ${UNPACKDIR}/$file > ${D}${systemd_unitdir}/network/$file
    done
}

FILES:${PN} += "${systemd_unitdir}/network"
RDEPENDS:${PN} = "systemd"
