# What the layer's append to openssh works on: the two configurations, and the folder of the units.
SRC_URI = ""
do_install() {
    install -d ${D}${sysconfdir}/ssh ${D}${systemd_system_unitdir}
    for config in sshd_config sshd_config_readonly; do
        echo "HostKey ${OPENSSH_HOST_KEY_DIR_READONLY_CONFIG}/ssh_host_ecdsa_key" > ${D}${sysconfdir}/ssh/$config
    done
}
PACKAGES = "${PN}-sshd"
FILES:${PN}-sshd = "${sysconfdir}/ssh/sshd_config ${sysconfdir}/ssh/sshd_config_readonly ${systemd_system_unitdir}"
OPENSSH_HOST_KEY_DIR_READONLY_CONFIG ?= "/var/run/ssh"
