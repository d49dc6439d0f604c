//! Packets that find a processor's input queue full are lost before any program could capture them: told, as what is lost
//! before the ring.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use support::net::{GENERATOR, Pace, TAP};
use support::pcap::{Packet, frame};
use support::process::{PATIENCE, Process, must, wait_until};
use support::stage::Stage;

/// Programs that send at a time: what one may have in flight is far less than the queue holds.
const SENDERS: usize = 12;
const FRAMES: u64 = 10_000;

/// Sockets that see every packet too, so that its processor is slower than the senders.
const LISTENERS: &str = "
import signal, socket, sys
sockets = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in range(300)]
for each in sockets: each.bind((sys.argv[1], 0))
print('listening', file=sys.stderr, flush=True)
signal.pause()
";

#[test]
fn what_finds_the_input_queue_full_is_counted_to_the_packet() {
    let Some(stage) = Stage::new(&["two processors", "python3"]) else { return };
    let service = stage.start(stage.setup());
    let steer = format!("echo 2 >/sys/class/net/{TAP}/queues/rx-0/rps_cpus");
    must("ip", &["netns", "exec", stage.net.namespace(), "sh", "-c", &steer]);
    let mut listeners = stage.net.tap_command("python3");
    let mut listeners = Process::start(listeners.args(["-c", LISTENERS, TAP]));
    listeners.wait_for_stderr("listening");

    let frames: Vec<_> = (0..FRAMES).map(|seq| Packet::whole(1, 0, frame(seq, 60, &[]))).collect();
    let file = stage.file(&frames);
    wait_until("a full queue", || {
        let senders: Vec<_> = (0..SENDERS).map(|_| stage.net.begin_to_send(&file, Pace::Top)).collect();
        senders.into_iter().for_each(|sender| drop(sender.finish(PATIENCE)));
        thrown_away(&stage) > 0
    });

    let lost = thrown_away(&stage);
    wait_until("the losses", || service.state().is_some_and(|state| state["losses"]["nic"] == lost));
    let told = service.ask(&["status", "--json"]).json();
    assert_eq!(told["service"]["hour"]["losses"]["nic"], lost, "{told}");
    assert_eq!(service.stop().code, Some(0));
}

/// Packets that the kernel did not take from the sender, as the sender's end counts them.
fn thrown_away(stage: &Stage) -> u64 {
    let end = ["-n", stage.net.generator(), "-json", "-stats", "link", "show", "dev", GENERATOR];
    must("ip", &end).json()[0]["stats64"]["tx"]["dropped"].as_u64().unwrap()
}
