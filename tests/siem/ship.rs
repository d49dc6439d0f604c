//! Lines that are shipped by way of a file: rsyslog reads it, logrotate takes it away.

use super::*;
use crate::support::process::{PATIENCE, Process, Signal, wait_until};
use crate::support::service::command_line;

#[test]
fn rsyslog_reads_the_file_and_forwards_every_line() {
    let Some(corpora) = corpora().filter(|_| require(&["rsyslogd"])) else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("flows.ecs.ndjson"), ask("flows", "ecs", &of(&corpora))).unwrap();
    // The input of docs/SIEM.md, into a file instead of a server.
    let docs = include_str!("../../docs/SIEM.md");
    let input = docs.split("```").find(|block| block.contains("imfile")).expect("an rsyslog configuration");
    let input = input.trim_start_matches("rsyslog");
    let (input, _) = input.split_once("action(").expect("its action");
    let input = input.replace("/var/log/tapkeep-ship/*.ndjson", &path("flows.ecs.ndjson"));
    let output = format!("action(type=\"omfile\" file=\"{}\" template=\"raw\")\n}}\n", path("out"));
    std::fs::write(
        path("rsyslog.conf"),
        format!("global(workDirectory=\"{}\")\n{input}{output}", dir.path().display()),
    )
    .unwrap();
    let (conf, pid) = (path("rsyslog.conf"), path("pid"));
    let mut daemon = Process::start(Command::new("rsyslogd").args(["-n", "-f", &conf, "-i", &pid]));
    let wanted = std::fs::read_to_string(path("flows.ecs.ndjson")).unwrap();
    wait_until("rsyslog to read all", || {
        assert!(daemon.is_running(), "{}", daemon.last_words());
        std::fs::metadata(path("out")).is_ok_and(|out| out.len() >= wanted.len() as u64)
    });
    assert!(std::fs::read_to_string(path("out")).unwrap() == wanted, "not what was written");
    daemon.signal(Signal::TERM);
    daemon.finish(PATIENCE);
}

#[test]
fn logrotate_takes_the_file_away_and_no_line_is_missed() {
    let Some(corpora) = corpora().filter(|_| require(&["logrotate"])) else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let replay =
        |capture: &str| format!("replay {}/{capture} --data-dir {}", corpora.display(), path("data"));
    let ship = |words: &str| {
        let (data, cursor, lines) = (path("data"), path("cursor"), path("flows.ndjson"));
        let words = format!("flows {words} --format ecs --data-dir {data} --cursor-file {cursor} >> {lines}");
        Process::start(Command::new("sh").args(["-c", &format!("exec {} {words}", command_line())]))
    };
    let lines = |name: &str| -> Vec<String> {
        let text = std::fs::read_to_string(path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    run(tapkeep(&[]).args(replay(CAPTURES[0]).split(' '))).ok();
    ship("").finish(PATIENCE).ok();
    let shipper = ship("--follow");
    let written = format!("/proc/{}/fd/1", shipper.id());
    wait_until("the file to be open", || {
        std::fs::read_link(&written).is_ok_and(|file| file.ends_with("flows.ndjson"))
    });

    // What is recorded before the shipper is started again goes into the file that has been moved.
    let grown = format!("[ $(wc -l < {0}.1) -gt {1} ]", path("flows.ndjson"), lines("flows.ndjson").len());
    let recorded = format!("{} {}", command_line(), replay(CAPTURES[1]));
    let script = format!("{recorded} && until {grown}; do sleep 0.05; done && kill {}", shipper.id());
    let sample = include_str!("../../systemd/tapkeep-ship.logrotate");
    let mut conf = sample.to_owned();
    for (installed, here) in [
        ("/var/log/tapkeep-ship/*.ndjson", &*path("*.ndjson")),
        ("systemctl try-restart 'tapkeep-ship@*.service'", &script),
        (" tapkeep-ship adm\n", "\n"),
    ] {
        assert!(conf.contains(installed), "{installed}");
        conf = conf.replace(installed, here);
    }
    std::fs::write(path("conf"), conf).unwrap();
    run(Command::new("logrotate").args(["--force", "--state", &path("state"), &path("conf")])).ok();
    shipper.finish(PATIENCE);
    assert_eq!((lines("flows.ndjson").len(), lines("flows.ndjson.1").len() > 10), (0, true));

    let mut shipper = ship("--follow");
    run(tapkeep(&[]).args(replay(CAPTURES[2]).split(' '))).ok();
    let ids = |lines: &[String]| -> BTreeSet<String> {
        let id = |line: &String| serde_json::from_str::<Value>(line).unwrap()["event"]["id"].to_string();
        lines.iter().map(id).collect()
    };
    let all =
        run(tapkeep(&[]).args(format!("flows --format ecs --data-dir {}", path("data")).split(' '))).ok();
    let all = ids(&all.text().lines().map(str::to_owned).collect::<Vec<_>>());
    wait_until("all flows in the two files", || {
        assert!(shipper.is_running(), "{}", shipper.last_words());
        let text = std::fs::read_to_string(path("flows.ndjson")).unwrap();
        text.ends_with('\n') && &ids(&lines("flows.ndjson")) | &ids(&lines("flows.ndjson.1")) == all
    });
    shipper.signal(Signal::TERM);
    shipper.finish(PATIENCE);
}
