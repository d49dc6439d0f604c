//! The real disk fills, is freed, loses power and comes back with what was synced.

use std::fs::File;
use std::io::Write as _;

use crate::support::disk::{Disk, NEEDS};
use crate::support::net::{NEEDS as NET_NEEDS, Net, TAP};
use crate::support::process::Process;
use crate::support::require;

const MIB: u64 = 1 << 20;

#[test]
fn synced_files_outlive_a_power_cut_and_others_do_not() {
    if !require(&NEEDS) || !require(&NET_NEEDS) || !require(&["tcpdump"]) {
        return;
    }
    let disk = Disk::new(16 * MIB);
    // A stranger in a copy of the mounts, as parallel tests make them, must not keep the file system alive.
    let net = Net::new();
    let mut stranger = Process::start(net.tap_command("tcpdump").args(["-i", TAP, "-w", "/dev/null"]));
    stranger.wait_for_stderr("listening on");
    let mut kept = File::create(disk.path().join("kept")).unwrap();
    kept.write_all(b"kept").unwrap();
    kept.sync_all().unwrap();
    File::open(disk.path()).unwrap().sync_all().unwrap();
    std::fs::write(disk.path().join("lost"), b"lost").unwrap();
    kept.write_all(b" and more").unwrap();
    disk.shutdown();
    assert!(kept.sync_all().is_err());
    drop(kept);
    disk.restore();
    assert_eq!(std::fs::read(disk.path().join("kept")).unwrap(), b"kept");
    assert!(!disk.path().join("lost").exists());
    disk.check();
    assert_eq!(std::fs::read(disk.path().join("kept")).unwrap(), b"kept");
}

#[test]
fn another_process_fills_and_frees_it() {
    if !require(&NEEDS) {
        return;
    }
    let disk = Disk::new(16 * MIB);
    let empty = disk.free();
    assert!(empty > 8 * MIB);
    disk.fill_to(MIB);
    assert!(disk.free().abs_diff(MIB) < 65_536, "{} bytes free", disk.free());
    disk.fill_to(0);
    let mut file = File::create(disk.path().join("late")).unwrap();
    let error = file.write_all(&[1; 65_536]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    disk.unfill();
    assert!(disk.free().abs_diff(empty) < 65_536);
    file.write_all(&[1; 65_536]).unwrap();
}

#[test]
fn nothing_is_left_mounted() {
    if !require(&NEEDS) {
        return;
    }
    let disk = Disk::new(8 * MIB);
    let mount = disk.path().to_owned();
    let mounted = || std::fs::read_to_string("/proc/mounts").unwrap().contains(mount.to_str().unwrap());
    let _open = File::create(mount.join("open")).unwrap();
    assert!(mounted());
    drop(disk);
    assert!(!mounted() && !mount.exists());
}
