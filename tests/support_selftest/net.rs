//! Frames sent into a pair of namespaces arrive at the tap port as they were, and nothing else does.

use crate::support::net::{GENERATOR, NEEDS, Net, Pace, TAP, sent};
use crate::support::pcap::{assert_same_packets, mix, parse_pcap, write_pcap};
use crate::support::process::{PATIENCE, Process, Signal, run, wait_until};
use crate::support::require;

#[test]
fn a_thousand_frames_arrive_as_they_were_sent() {
    if !require(&NEEDS) || !require(&["tcpdump"]) {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let (sending, recorded) = (dir.path().join("send.pcap"), dir.path().join("recorded.pcap"));
    let packets = mix(0, 1000);
    write_pcap(&sending, &packets);
    let mut command = net.tap_command("tcpdump");
    command.args(["-i", TAP, "-U", "-B", "16384", "-Z", "root", "-w"]).arg(&recorded);
    let mut tcpdump = Process::start(&mut command);
    tcpdump.wait_for_stderr("listening on");
    assert_eq!(net.send(&sending, Pace::PerSecond(5_000)), 1000);
    assert_eq!(net.delivered(), 1000, "a stray frame came along");
    wait_until("all frames in the file", || parse_pcap(&std::fs::read(&recorded).unwrap()).0.len() >= 1000);
    tcpdump.signal(Signal::INT);
    assert_eq!(tcpdump.finish(PATIENCE).code, Some(0), "the signal reached tcpdump itself");
    assert_same_packets(&parse_pcap(&std::fs::read(&recorded).unwrap()).0, &packets);
}

#[test]
fn the_tap_port_goes_and_comes_back() {
    if !require(&NEEDS) {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let file = dir.path().join("send.pcap");
    write_pcap(&file, &mix(0, 50));
    net.down();
    let refused = sent_or_none(net.begin_to_send(&file, Pace::Top));
    net.up();
    assert_eq!(net.delivered(), 0, "a port that is down hears nothing ({refused:?} sent)");
    assert_eq!(net.send(&file, Pace::Top), 50);
    net.delete();
    let show = |net: &Net| run(net.generator_command("ip").args(["link", "show", "dev", GENERATOR])).code;
    assert_ne!(show(&net), Some(0));
    net.create();
    assert_eq!((show(&net), net.delivered()), (Some(0), 0));
    assert_eq!(sent(net.begin_to_send(&file, Pace::PerSecond(1000)).finish(PATIENCE)), 50);
    assert_eq!(net.delivered(), 50);
}

#[test]
fn namespaces_are_gone_with_their_owner() {
    if !require(&NEEDS) {
        return;
    }
    let net = Net::new();
    let namespace = net.namespace().to_owned();
    let exists = || std::path::Path::new("/run/netns").join(&namespace).exists();
    assert!(exists());
    drop(net);
    assert!(!exists());
}

fn sent_or_none(process: Process) -> Option<u64> {
    let answer = process.finish(PATIENCE);
    (answer.code == Some(0)).then(|| sent(answer))
}
