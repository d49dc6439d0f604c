SUMMARY = "The flight recorder of a network tap"
DESCRIPTION = "Keeps every packet that passes a tap port in crash-safe, rotating PCAP files, a record of every flow, and \
answers questions about both."
SECTION = "net"
# The program's own, then those of the crates and of the SQLite that are linked into it.
LICENSE = "(MIT | Apache-2.0) & ISC & Unicode-3.0 & Zlib & blessing"
LIC_FILES_CHKSUM = "\
    file://LICENSE-MIT;md5=c7f8ea684024dafa16185caece99aca2 \
    file://LICENSE-APACHE;md5=3b83ef96387f14655fc854ddc3c6bd57 \
"

DEPENDS = "libpcap"

SRC_URI = "${TAPKEEP_GIT};usehead=1"
SRCREV = "${TAPKEEP_REVISION}"
# nooelint: oelint.file.requireinclude - without it the recipe is skipped, and says how to make it
include tapkeep-crates.inc

inherit cargo pkgconfig systemd useradd

# nooelint: oelint.task.noanonpython
python () {
    if not d.getVar("TAPKEEP_CRATES"):
        raise bb.parse.SkipRecipe('the list of crates is missing: run "make yocto-crates" in the repository of this layer')
}

# The build script of the crate pcap would otherwise ask a libpcap of the build host for its version.
export LIBPCAP_VER = "1.10.6"

SYSTEMD_SERVICE:${PN} = "tapkeep.service"

USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system tapkeep"
USERADD_PARAM:${PN} = "--system --gid tapkeep --no-create-home --home-dir ${localstatedir}/lib/tapkeep \
    --shell ${base_sbindir}/nologin tapkeep"

do_install:append() {
    install -d ${D}${systemd_system_unitdir}
    install -m 0644 ${S}/systemd/tapkeep.service ${S}/systemd/tapkeep@.service ${D}${systemd_system_unitdir}
    install -D -m 0644 ${S}/systemd/tapkeep.catalog ${D}${systemd_unitdir}/catalog/tapkeep.catalog
    install -D -m 0644 ${S}/systemd/tapkeep.tmpfiles ${D}${nonarch_libdir}/tmpfiles.d/tapkeep.conf
    install -D -m 0644 ${S}/config/tapkeep.toml ${D}${datadir}/tapkeep/tapkeep.toml
    install -D -m 0644 ${S}/config/tapkeep.toml ${D}${sysconfdir}/tapkeep/tapkeep.toml
}

# The configuration is a package of its own, so that an image can bring another in its place.
PACKAGES =+ "${PN}-conf"
# nooelint: oelint.var.filesoverride - a package of our own
FILES:${PN}-conf = "${sysconfdir}/tapkeep/tapkeep.toml"
CONFFILES:${PN}-conf = "${sysconfdir}/tapkeep/tapkeep.toml"
FILES:${PN} += "${nonarch_libdir}/tmpfiles.d ${systemd_unitdir}/catalog ${systemd_system_unitdir}"
RRECOMMENDS:${PN} += "${PN}-conf"
