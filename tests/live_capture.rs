//! A live tap port recorded by the real program: every frame once, in order, as it was sent, in files that end when they
//! should; and an end that is orderly whoever asks for it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::net::Pace;
use support::pcap::{
    Packet, assert_same_packets, capinfos_count, frame, mix, tcpdump_packets, tshark_packets, write_pcap,
};
use support::process::{PATIENCE, Signal, must, run, wait_until};
use support::recorded::{growing, number, packets, sealed, visible, visible_packets, wait_for_packets};
use support::service::{Service, ask};
use support::stage::Stage;

/// What an order to stop may take on a busy machine; a service that hangs takes for ever.
const SOON: Duration = Duration::from_secs(10);

/// Programs that read what we write.
const CLIENTS: [&str; 4] = ["tcpdump", "tshark", "capinfos", "setpriv"];

fn state(service: &Service, key: &str) -> serde_json::Value {
    service.state().map(|mut state| state[key].take()).unwrap_or_default()
}

fn utc(sec: u32) -> String {
    must("date", &["-u", "-d", &format!("@{sec}"), "+%Y%m%d_%H%M%S"]).text().trim().to_owned()
}

#[test]
fn every_frame_is_kept_once_in_order_across_rotations() {
    const SIZE: u64 = 400_000;
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let service = stage.start(stage.setup().variable("PCAP_ROTATION_SIZE", "400kB"));
    let sent = mix(0, 6_000);
    stage.send(&sent, Pace::PerSecond(20_000));
    wait_for_packets(&stage.data_dir(), sent.len());
    let state = service.state().unwrap();
    assert_eq!(service.stop().code, Some(0));

    let files = sealed(&stage.data_dir());
    assert!(files.len() >= 8, "{} files", files.len());
    assert!(growing(&stage.data_dir()).is_empty());
    assert_same_packets(&packets(&files), &sent);
    for (at, file) in files.iter().enumerate() {
        let ours = packets(std::slice::from_ref(file));
        assert_eq!(tcpdump_packets(file), ours);
        assert_eq!(tshark_packets(file), ours);
        assert_eq!(capinfos_count(file), ours.len() as u64);
        assert!(file.metadata().unwrap().len() <= SIZE, "{}", file.display());
        let name = format!("capture_{}_{:04}.pcap", utc(ours[0].sec), at + 1);
        assert_eq!(file.file_name().unwrap(), name.as_str());
    }
    assert_eq!(state["losses"]["kernel"], 0);
    let list = support::service::ask(&stage.data_dir(), &["list", "--json", "--kind", "capture"]).ok().json();
    let listed: Vec<_> = list["files"].as_array().unwrap().iter().map(|file| &file["packets"]).collect();
    let counted: Vec<_> = files.iter().map(|file| capinfos_count(file)).collect();
    assert_eq!(listed, counted);
    assert_eq!(list["losses"]["kernel"], 0);
}

#[test]
fn a_single_packet_can_be_read_soon() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let service = stage.start(stage.setup());
    for seq in 0..2 {
        stage.send(&mix(seq, 1), Pace::Top);
        let sent = Instant::now();
        wait_for_packets(&stage.data_dir(), seq as usize + 1);
        // It promises a second; the rest is for a busy machine.
        assert!(sent.elapsed() < Duration::from_secs(4), "{:?}", sent.elapsed());
    }
    let files = growing(&stage.data_dir());
    assert_eq!((files.len(), sealed(&stage.data_dir()).len()), (1, 0));
    assert_same_packets(&tcpdump_packets(&files[0]), &mix(0, 2));
    let list = service.ask_json(&["list", "--json", "--kind", "capture"]);
    assert_eq!((&list["files"][0]["state"], &list["files"][0]["packets"]), (&"recording".into(), &2.into()));
    assert_eq!(service.stop().code, Some(0));
}

#[test]
fn time_ends_a_file_only_if_it_holds_packets() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let service = stage.start(stage.setup().variable("TAPKEEP_RECORDER_ROTATION_INTERVAL", "1s"));
    for round in 1..=2 {
        stage.send(&mix(round * 10, 10), Pace::Top);
        wait_until("the file to end by time", || sealed(&stage.data_dir()).len() == round as usize);
        // Several intervals of an idle link.
        std::thread::sleep(Duration::from_millis(2_500));
        assert_eq!(sealed(&stage.data_dir()).len(), round as usize);
        assert!(growing(&stage.data_dir()).is_empty());
    }
    assert_eq!(service.stop().code, Some(0));
    let sent = [mix(10, 10), mix(20, 10)].concat();
    assert_same_packets(&packets(&sealed(&stage.data_dir())), &sent);
}

#[test]
fn numbers_go_on_after_a_restart_and_past_four_digits() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let pcaps = stage.data_dir().join("pcaps");
    std::fs::create_dir_all(&pcaps).unwrap();
    let (old, stranger) = (pcaps.join("capture_20240101_000000_9998.pcap"), pcaps.join("capture_mine.pcap"));
    write_pcap(&old, &mix(0, 3));
    std::fs::write(&stranger, "not ours").unwrap();
    for expected in [9_999, 10_000, 10_001] {
        let service = stage.start(stage.setup());
        stage.send(&mix(expected, 5), Pace::Top);
        wait_until("packets", || growing(&stage.data_dir()).iter().any(|part| visible(part).len() == 5));
        assert_eq!(number(&growing(&stage.data_dir())[0]), expected);
        assert_eq!(service.stop().code, Some(0));
    }
    assert_same_packets(&packets(&[old]), &mix(0, 3));
    assert_eq!(std::fs::read(&stranger).unwrap(), b"not ours");
    std::fs::remove_file(stranger).unwrap();
    let numbers: Vec<_> = sealed(&stage.data_dir()).iter().map(|file| number(file)).collect();
    assert_eq!(numbers, [9_998, 9_999, 10_000, 10_001]);
}

#[test]
fn either_signal_ends_it_with_everything_sealed() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let mut sent = Vec::new();
    for (turn, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let mut service = stage.start(stage.setup());
        let frames = mix(1_000 * turn as u64, 1_000);
        stage.send(&frames, Pace::PerSecond(20_000));
        sent.extend(frames);
        // At once: what the kernel and the queue still hold is to be kept too.
        service.process.signal(signal);
        let asked = Instant::now();
        let status = service.wait(PATIENCE).expect("it ends");
        assert!(asked.elapsed() < SOON, "{signal:?}: {:?}", asked.elapsed());
        assert_eq!(status.code(), Some(0), "{}", service.process.last_words());
        assert!(!service.runtime_dir().join("state.json").exists());
        assert!(growing(&stage.data_dir()).is_empty());
        assert_same_packets(&packets(&sealed(&stage.data_dir())), &sent);
    }
}

#[test]
fn an_end_without_a_packet_leaves_no_capture_file() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let service = stage.start(stage.setup());
    assert_eq!(service.interrupt().code, Some(0));
    assert_eq!(std::fs::read_dir(stage.data_dir().join("pcaps")).unwrap().count(), 0);
}

#[test]
fn a_second_signal_never_hangs_and_loses_nothing_seen() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let mut seen = 0;
    for pause in [0, 1, 5, 20] {
        let mut service = stage.start(stage.setup());
        stage.send(&mix(seen, 500), Pace::Top);
        seen += 500;
        wait_for_packets(&stage.data_dir(), seen as usize);
        service.process.signal(Signal::TERM);
        std::thread::sleep(Duration::from_millis(pause));
        service.process.signal(Signal::TERM);
        let asked = Instant::now();
        let status = service.wait(PATIENCE).expect("it ends");
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
        assert!(matches!(status.code(), Some(0 | 1)), "{status}: {}", service.process.last_words());
    }
    // The next start seals what an abandoned drain has left.
    let service = stage.start(stage.setup());
    wait_until("salvage", || growing(&stage.data_dir()).is_empty());
    assert_eq!(service.stop().code, Some(0));
    assert_same_packets(&packets(&sealed(&stage.data_dir())), &mix(0, seen));
}

#[test]
fn a_reload_changes_what_it_can_and_says_what_it_cannot() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let mut service = stage.start(stage.setup());
    stage.send(&mix(0, 1_000), Pace::PerSecond(20_000));
    wait_for_packets(&stage.data_dir(), 1_000);
    assert_eq!(sealed(&stage.data_dir()).len(), 0);

    service.configure("[capture]\nsnaplen = 96\n[recorder]\nrotation_size = \"200kB\"\n");
    service.reload();
    service.process.wait_for_stderr("capture.snaplen has changed; that takes effect at the next start");
    service.process.wait_for_stderr("the configuration is reloaded");
    wait_until("the new size", || state(&service, "recording")["rotation_size"] == 200_000);
    stage.send(&mix(1_000, 1_000), Pace::PerSecond(20_000));
    wait_for_packets(&stage.data_dir(), 2_000);
    assert!(sealed(&stage.data_dir()).len() >= 3);

    service.configure("[recorder]\nrotation_size = \"plenty\"\nsync_interval = \"1s\"\n");
    service.reload();
    service.process.wait_for_stderr("the configuration is not reloaded");
    let words = service.process.stderr();
    assert!(words.contains("tapkeep.toml:2") && words.contains("plenty"), "{words}");
    stage.send(&mix(2_000, 1_000), Pace::PerSecond(20_000));
    wait_for_packets(&stage.data_dir(), 3_000);
    assert_eq!(service.stop().code, Some(0));
    let files = sealed(&stage.data_dir());
    assert!(files[1..].iter().all(|file| file.metadata().unwrap().len() <= 200_000));
    assert_same_packets(&packets(&files), &mix(0, 3_000));
}

#[test]
fn a_second_service_is_refused_and_the_first_goes_on() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let service = stage.start(stage.setup());
    let mut second = stage.setup().start(&stage.net);
    assert_eq!(second.wait(PATIENCE).and_then(|status| status.code()), Some(1));
    let words = second.process.last_words();
    assert_eq!(words.lines().count(), 1, "{words}");
    assert!(words.contains("in use by another tapkeep"), "{words}");
    stage.send(&mix(0, 100), Pace::Top);
    wait_for_packets(&stage.data_dir(), 100);
    wait_until("the index to follow", || service.ask(&["status"]).code == Some(0));
    assert_eq!(service.stop().code, Some(0));
    assert_same_packets(&packets(&sealed(&stage.data_dir())), &mix(0, 100));
}

#[test]
fn a_filter_that_does_not_compile_says_where_and_gives_the_bpf_form() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    for (expression, wanted) in [
        ("tcp.port == 443", &["tcp.port == 443", "^", "tcp port 443"][..]),
        ("udp prt 53", &["udp prt 53", "    ^^^"]),
    ] {
        let mut service = stage.setup().variable("WIRESHARK_FILTER", expression).start(&stage.net);
        assert_eq!(service.wait(PATIENCE).and_then(|status| status.code()), Some(2), "{expression}");
        let words = service.process.last_words();
        assert!(wanted.iter().all(|part| words.contains(part)), "{words}");
        assert!(!stage.data_dir().exists());
    }
}

#[test]
fn without_an_interface_it_waits_and_says_so() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let mut service = stage.setup().variable("NETWORK_INTERFACE", "").start(&stage.net);
    service.wait_for("waiting");
    let status = service.ask(&["status"]);
    assert_eq!(status.code, Some(1));
    assert!(status.text().contains("no interface is configured"), "{}", status.text());
    assert_eq!(service.stop().code, Some(0));
}

#[test]
fn without_the_right_to_capture_it_says_what_is_missing() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let data = stage.data_dir();
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(65_534), Some(65_534)).unwrap();
    let open =
        |path: &Path| std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755));
    open(stage.dir.path()).unwrap();
    let program = support::service::program_for_all(stage.dir.path());
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut service = stage.setup().program(program).through(&nobody).start(&stage.net);
    assert_eq!(service.wait(PATIENCE).and_then(|status| status.code()), Some(1));
    let words = service.process.last_words();
    let error: Vec<_> = words.lines().filter(|line| line.contains("tapkeep: error")).collect();
    assert!(matches!(error[..], [line] if line.contains("tap0") && line.contains("CAP_NET_RAW")), "{words}");
}

#[test]
fn without_saving_packets_are_counted_and_extract_says_why_it_has_none() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let service = stage.start(stage.setup().variable("SAVE_PCAP", "false"));
    stage.send(&mix(0, 500), Pace::PerSecond(20_000));
    assert!(service.state().unwrap()["retention"].is_null(), "no capture is kept, and none evicted");
    wait_until("500 packets counted", || state(&service, "packets") == 500);
    assert_eq!(
        (state(&service, "written"), state(&service, "recording")),
        (0.into(), serde_json::Value::Null)
    );
    assert!(!stage.data_dir().join("pcaps").exists());
    let extract = service.ask(&["extract"]);
    assert!(extract.stderr.contains("SAVE_PCAP"), "{}", extract.stderr);
    assert_eq!(service.stop().code, Some(0));
    assert!(!stage.data_dir().join("pcaps").exists());
}

#[test]
fn a_capture_file_is_replayed_once_instead() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let file = stage.dir.path().join("old.pcap");
    write_pcap(&file, &mix(0, 2_000));
    let mut service = stage.setup().variable("PCAP_FILE", &file).start_here();
    assert_eq!(service.wait(PATIENCE).and_then(|status| status.code()), Some(0));
    let said = String::from_utf8(service.process.stdout()).unwrap();
    assert!(said.contains("replayed 2,000 packets"), "{said}");
    assert_eq!(packets(&sealed(&stage.data_dir())), mix(0, 2_000));
}

#[test]
fn what_the_kernel_shows_twice_is_no_loss() {
    let Some(stage) = Stage::new(&["python3"]) else { return };
    must("ip", &["-n", stage.net.namespace(), "link", "set", "lo", "up"]);
    let service = stage.start(stage.setup().variable("NETWORK_INTERFACE", "lo"));
    let send = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('127.0.0.1', 4444))
for n in range(300): s.sendto(bytes(100), ('127.0.0.1', 4444))";
    run(stage.net.tap_command("python3").args(["-c", send])).ok();
    wait_for_packets(&stage.data_dir(), 300);
    let ended = service.stop().ok();
    assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
    let list = ask(&stage.data_dir(), &["list", "--json", "--kind", "capture"]).ok().json();
    assert_eq!((&list["files"][0]["packets"], &list["losses"]["kernel"]), (&300.into(), &0.into()));
}

#[test]
fn nanosecond_stamps_and_short_packets_are_as_configured() {
    const SNAPLEN: usize = 96;
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let setup = stage.setup().variable("TAPKEEP_CAPTURE_PRECISION", "nano");
    let service = stage.start(setup.variable("TAPKEEP_CAPTURE_SNAPLEN", SNAPLEN.to_string()));
    let sent = mix(0, 500);
    stage.send(&sent, Pace::PerSecond(10_000));
    wait_for_packets(&stage.data_dir(), sent.len());
    assert_eq!(service.stop().code, Some(0));
    let files = sealed(&stage.data_dir());
    assert_eq!(std::fs::read(&files[0]).unwrap()[..4], [0x4d, 0x3c, 0xb2, 0xa1]);
    let kept = packets(&files);
    let short = |packet: &Packet| Packet {
        data: packet.data[..packet.data.len().min(SNAPLEN)].to_vec(),
        ..packet.clone()
    };
    assert_same_packets(&kept, &sent.iter().map(short).collect::<Vec<_>>());
    assert!(kept.iter().any(|packet| packet.frac % 1_000 != 0), "stamps finer than a microsecond");
    let stamps =
        must("tshark", &["-r", files[0].to_str().unwrap(), "-T", "fields", "-e", "frame.time_epoch"]);
    let ours = kept.iter().map(|packet| format!("{}.{:09}", packet.sec, packet.frac));
    assert!(stamps.text().lines().eq(ours), "tshark reads other stamps");
}

#[test]
fn a_jumbo_frame_is_kept_whole() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let service = stage.start(stage.setup());
    let sent = [Packet::whole(0, 0, frame(1, 9_014, &[])), Packet::whole(0, 0, frame(2, 60, &[]))];
    stage.send(&sent, Pace::Top);
    wait_for_packets(&stage.data_dir(), 2);
    assert_eq!(service.stop().code, Some(0));
    assert_same_packets(&visible_packets(&stage.data_dir()), &sent);
}
