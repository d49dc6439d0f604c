FILESEXTRAPATHS:prepend:tapkeep := "${THISDIR}/files:"

SRC_URI:append:tapkeep = " \
    file://tapkeep.conf \
    file://tapkeep-host-keys.conf \
"

# nooelint: oelint.vars.mispell.unknown - new in wrynose
OPENSSH_HOST_KEY_DIR_READONLY_CONFIG:tapkeep = "/data/ssh"

# The first value sshd reads is the one that counts, so the line comes first.
do_install:append:tapkeep() {
    install -D -m 0600 ${UNPACKDIR}/tapkeep.conf ${D}${sysconfdir}/ssh/sshd_config.d/tapkeep.conf
    for config in sshd_config sshd_config_readonly; do
        sed -i '1i Include ${sysconfdir}/ssh/sshd_config.d/tapkeep.conf' ${D}${sysconfdir}/ssh/$config
    done
    install -D -m 0644 ${UNPACKDIR}/tapkeep-host-keys.conf \
        ${D}${systemd_system_unitdir}/sshdgenkeys.service.d/tapkeep.conf
}

FILES:${PN}-sshd:append:tapkeep = " ${sysconfdir}/ssh/sshd_config.d"
