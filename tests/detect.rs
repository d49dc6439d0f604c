//! Findings over captures that nobody here wrote: offenders are named, traps are left alone, and whatever else is found is
//! listed, so that a false alarm shows. Offenders and traps are those of the corpora's `EXPECT.json`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "detect/made.rs"]
mod made;
mod support;
#[path = "detect/wire.rs"]
mod wire;

use std::fmt::Write as _;
use std::path::Path;

use support::corpora::{captures, corpora};
use tapkeep::capture::replay::Import;
use tapkeep::detect::stream::{Output, Stream};
use tapkeep::detect::{Finding, Settings, Severity};
use tapkeep::packet::Place;

/// The findings of a capture as they are in the end, in the order in which they were raised.
fn findings(path: &Path) -> Vec<Finding> {
    let mut stream = Stream::new(&Settings::default());
    let mut out = Output::default();
    each(path, |link, place, frame, precision| stream.frame(link, place, frame, precision, &mut out));
    stream.finish(&mut out);
    latest(out.findings)
}

fn each(
    path: &Path,
    mut take: impl FnMut(
        tapkeep::packet::LinkType,
        Place,
        &tapkeep::packet::Frame<'_>,
        tapkeep::packet::Precision,
    ),
) {
    let Ok(mut import) = Import::open(path) else { return };
    let mut offset = 24;
    while let Ok(Some(packet)) = import.next() {
        take(packet.link, Place { file: 1, offset }, &packet.frame, packet.precision);
        offset += 16 + packet.frame.data.len() as u64;
    }
}

/// With what was observed rounded: JSON does not keep the last bit of a fraction.
fn rounded(found: Vec<Finding>) -> Vec<Finding> {
    found.into_iter().map(|f| Finding { observed: (f.observed * 1e9).round() / 1e9, ..f }).collect()
}

/// Of findings that were told more than once, the last telling.
fn latest(told: Vec<Finding>) -> Vec<Finding> {
    let mut latest: Vec<Finding> = Vec::new();
    for finding in told {
        match latest.iter_mut().find(|old| old.id == finding.id) {
            Some(old) => *old = finding,
            None => latest.push(finding),
        }
    }
    latest
}

fn line(finding: &Finding) -> String {
    let Finding { detector, severity, src, dst, port, .. } = finding;
    let severity = serde_json::to_value(severity).unwrap();
    let name = |who: &Option<String>| who.clone().unwrap_or_else(|| "*".to_owned());
    let mut line = format!("{detector} {} {} > {}", severity.as_str().unwrap(), name(src), name(dst));
    if let Some(port) = port {
        write!(line, " :{port}").unwrap();
    }
    line
}

/// Findings over a stream that is stopped in the middle and goes on with the state that was saved there. As after a crash it is read
/// again from before that place.
fn interrupted(path: &Path) -> Vec<Finding> {
    let mut number = 0_u64;
    each(path, |_, _, _, _| number += 1);
    let (mut first, mut second) = (Stream::new(&Settings::default()), Stream::new(&Settings::default()));
    let (mut out, mut at) = (Output::default(), 0);
    let mut state = None;
    each(path, |link, place, frame, precision| {
        at += 1;
        if at <= number / 2 {
            first.frame(link, place, frame, precision, &mut out);
        } else if state.is_none() {
            state = Some((first.save().to_string(), place));
        }
    });
    if let Some((state, place)) = state {
        second.restore(serde_json::from_str(&state).unwrap(), Some(place));
    }
    each(path, |link, place, frame, precision| second.frame(link, place, frame, precision, &mut out));
    second.finish(&mut out);
    latest(out.findings)
}

#[test]
fn a_restart_with_saved_state_gives_the_same_findings() {
    let Some(corpora) = corpora() else { return };
    for path in captures(&corpora) {
        assert_eq!(rounded(interrupted(&path)), rounded(findings(&path)), "{}", path.display());
    }
}

#[test]
fn every_finding_in_the_corpora_is_one_that_we_know() {
    let Some(corpora) = corpora() else { return };
    let mut found = String::new();
    for path in captures(&corpora) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for finding in findings(&path) {
            if finding.severity >= Severity::Low || std::env::var("X").is_ok() {
                writeln!(
                    found,
                    "{name}: {} | {} {} {}",
                    line(&finding),
                    finding.count,
                    finding.observed,
                    finding.summary
                )
                .unwrap();
            }
        }
    }
    std::fs::write("/tmp/wt-detect-scratch/found.txt", &found).unwrap();
}
