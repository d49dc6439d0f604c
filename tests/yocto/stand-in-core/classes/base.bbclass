addtask install
do_install() {
    :
}
addtask build after do_install
do_build() {
    :
}
