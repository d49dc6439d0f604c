//! Where files end, and what is written into the next.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use rustix::io::Errno;
use tapkeep::packet::{LinkType, MAX_SNAPLEN};
use tapkeep::store::entry::Act;
use tapkeep::store::facts::{CaptureFacts, State};
use tapkeep::store::losses::Losses;
use tapkeep::store::recorder::{Recorder, Refused, Rotation};
use tapkeep::store::sealer::{Job, Report, Sealer};

use super::support::pcap::{Packet, parse_pcap};
use super::support::rig::layout;
use super::support::sim::Fault;
use super::{FORMAT, Place, at, block};

const SECOND: Duration = Duration::from_secs(1);

/// A recorder and the sealer's end of it.
struct Desk {
    place: Place,
    recorder: Recorder,
    jobs: Receiver<Job>,
    sealer: Sealer,
}

impl Desk {
    fn new(size: u64) -> Self {
        let place = Place::new();
        let rotation = Rotation { size, interval: None, sync_interval: 5 * SECOND };
        let (sender, jobs) = crossbeam_channel::unbounded();
        let fs = Arc::new(place.fs.clone());
        let recorder = Recorder::new(fs.clone(), layout(), rotation, place.data.next_number, sender);
        let sealer = Sealer::new(fs, layout(), place.data.ledger.clone());
        Self { place, recorder, jobs, sealer }
    }

    fn record(&mut self, packets: &[Packet]) {
        let mut block = block(packets, FORMAT);
        let outcome = self.recorder.record(&mut block, 0, SECOND);
        assert!(outcome.refused.is_none(), "{:?}", outcome.refused);
        assert_eq!(outcome.done, block.bytes().len());
    }

    /// Ends the growing file; what all sealed files are, by the ledger.
    fn sealed(mut self) -> (Vec<CaptureFacts>, Place) {
        self.recorder.rotate();
        self.do_jobs();
        assert!(!self.recorder.is_sealing());
        let seal = |act| if let Act::Seal { capture } = act { Some(capture) } else { None };
        (self.place.acts().into_iter().filter_map(seal).collect(), self.place)
    }

    fn do_jobs(&mut self) -> Vec<Report> {
        let mut reports = self.sealer.retry();
        reports.extend(self.jobs.try_iter().filter_map(|job| self.sealer.handle(job)));
        let done = |report: &&Report| !matches!(report, Report::Delayed(..) | Report::SyncFailed(..));
        reports.iter().filter(done).for_each(|_| self.recorder.sealed());
        reports
    }
}

/// A packet whose record takes `len` bytes.
fn record_of(len: usize) -> Packet {
    Packet::whole(1_735_655_452, 0, vec![7; len - 16])
}

#[test]
fn a_file_is_filled_to_its_last_byte_and_not_beyond() {
    let mut desk = Desk::new(24 + 300);
    desk.record(&[record_of(100), record_of(200), record_of(100)]);
    desk.do_jobs();
    desk.record(&[record_of(201)]);
    let (files, place) = desk.sealed();
    assert_eq!(files.iter().map(|facts| facts.size).collect::<Vec<_>>(), [324, 124, 225]);
    assert_eq!(files.iter().map(|facts| facts.packets).collect::<Vec<_>>(), [2, 1, 1]);
    for facts in files {
        let (packets, left) = parse_pcap(&place.fs.contents(at(&facts.name.to_string())).unwrap());
        assert_eq!((packets.len() as u64, left), (facts.packets, 0));
    }
}

#[test]
fn the_longest_packet_fits_into_the_smallest_file_and_a_longer_one_gets_its_own() {
    let longest = 16 + MAX_SNAPLEN as usize;
    let mut desk = Desk::new(24 + longest as u64);
    desk.record(&[record_of(longest)]);
    desk.record(&[record_of(100)]);
    let (files, _) = desk.sealed();
    assert_eq!(files.iter().map(|facts| facts.size).collect::<Vec<_>>(), [24 + longest as u64, 124]);

    let mut desk = Desk::new(200);
    desk.record(&[record_of(50), record_of(500)]);
    desk.do_jobs();
    desk.record(&[record_of(60)]);
    let (files, _) = desk.sealed();
    assert_eq!(files.iter().map(|facts| facts.size).collect::<Vec<_>>(), [74, 524, 84]);
}

#[test]
fn a_file_holds_packets_of_one_format() {
    let mut desk = Desk::new(10_000);
    desk.record(&[record_of(100)]);
    let other = super::Format { link: LinkType(113), ..FORMAT };
    let mut foreign = block(&[record_of(100)], other);
    assert!(desk.recorder.record(&mut foreign, 0, SECOND).refused.is_none());
    desk.do_jobs();
    desk.record(&[record_of(100)]);
    let (files, place) = desk.sealed();
    let link = |facts: &CaptureFacts| place.fs.contents(at(&facts.name.to_string())).unwrap()[20];
    assert_eq!(files.iter().map(link).collect::<Vec<_>>(), [1, 113, 1]);
}

#[test]
fn time_ends_a_file_that_holds_packets_and_an_idle_link_makes_none() {
    let mut desk = Desk::new(10_000);
    let rotation = Rotation { size: 10_000, interval: Some(10 * SECOND), sync_interval: 5 * SECOND };
    desk.recorder.set_rotation(rotation);
    desk.record(&[record_of(100)]);
    desk.recorder.tick(10 * SECOND);
    assert!(desk.recorder.progress().is_some());
    desk.recorder.tick(11 * SECOND);
    assert!(desk.recorder.progress().is_none());
    desk.do_jobs();
    let before = desk.place.fs.count();
    (12..60).for_each(|second| desk.recorder.tick(second * SECOND));
    desk.do_jobs();
    assert_eq!(desk.place.fs.count(), before, "an idle link touches no disk");
    assert_eq!(desk.sealed().0.len(), 1);
}

#[test]
fn losses_belong_to_the_file_that_misses_the_packets() {
    let mut desk = Desk::new(10_000);
    desk.recorder.book(Losses { kernel: Some(3), ..Losses::NONE });
    let mut first = block(&[record_of(100)], FORMAT);
    first.losses = Losses { queue: Some(4), ..Losses::NONE };
    assert!(desk.recorder.record(&mut first, 0, SECOND).refused.is_none());
    desk.recorder.rotate();
    desk.do_jobs();
    desk.recorder.book(Losses::unwritten(5));
    desk.record(&[record_of(100)]);
    let (files, _) = desk.sealed();
    let counts = |facts: &CaptureFacts| (facts.losses.kernel, facts.losses.queue, facts.losses.write);
    let counts: Vec<_> = files.iter().map(counts).collect();
    assert_eq!(counts, [(Some(3), Some(4), Some(0)), (Some(0), Some(0), Some(5))]);
}

#[test]
fn a_short_write_leaves_whole_records_and_the_rest_goes_on_in_the_next_file() {
    for cut_fails in [false, true] {
        let mut desk = Desk::new(10_000);
        let packets = [record_of(100), record_of(100), record_of(100)];
        desk.record(&packets[..1]);
        desk.place.fs.fail_at(desk.place.fs.count() + 1, Fault::ShortWrite(150));
        desk.place.fs.fail_when("@274", Fault::Errno(Errno::NOSPC), 1);
        desk.place.fs.fail_when("truncate", Fault::Errno(Errno::IO), usize::from(cut_fails));
        let mut next = block(&packets, FORMAT);
        let outcome = desk.recorder.record(&mut next, 0, SECOND);
        assert!(matches!(outcome.refused, Some(Refused::Write { .. })), "{outcome:?}");
        assert_eq!(outcome.done, 100);
        let left = desk.place.fs.contents(at("capture_20241231_143052_0001.pcap.part")).unwrap();
        assert_eq!(left.len(), if cut_fails { 274 } else { 224 }, "cut at once, if it can be");
        assert!(desk.recorder.record(&mut next, 100, SECOND).refused.is_none());
        let (files, place) = desk.sealed();
        let facts: Vec<_> = files.iter().map(|facts| (facts.size, facts.packets)).collect();
        assert_eq!(facts, [(224, 2), (224, 2)]);
        assert_eq!(place.fs.contents(at(&files[0].name.to_string())).unwrap().len(), 224);
    }
}

#[test]
fn at_most_two_files_are_unsealed() {
    let mut desk = Desk::new(24 + 100);
    let mut three = block(&[record_of(100), record_of(100), record_of(100)], FORMAT);
    let outcome = desk.recorder.record(&mut three, 0, SECOND);
    assert!(matches!(outcome.refused, Some(Refused::Sealing)));
    assert_eq!(outcome.done, 200);
    desk.do_jobs();
    assert!(desk.recorder.record(&mut three, 200, SECOND).refused.is_none());
    assert_eq!(desk.sealed().0.len(), 3);
}

#[test]
fn the_age_of_the_oldest_unsynced_packet_outlives_a_rotation() {
    let mut desk = Desk::new(10_000);
    let mut first = block(&[record_of(100)], FORMAT);
    first.since = 3 * SECOND;
    assert!(desk.recorder.record(&mut first, 0, 4 * SECOND).refused.is_none());
    assert_eq!(desk.recorder.oldest_unsynced(), Some(3 * SECOND));
    desk.recorder.rotate();
    assert_eq!(desk.recorder.oldest_unsynced(), Some(3 * SECOND));
    desk.do_jobs();
    assert_eq!(desk.recorder.oldest_unsynced(), None);
}

#[test]
fn a_failed_sync_ends_the_file_and_marks_what_is_doubtful() {
    let mut desk = Desk::new(10_000);
    desk.record(&[record_of(100)]);
    desk.recorder.tick(6 * SECOND);
    desk.do_jobs();
    desk.record(&[record_of(100)]);
    desk.place.fs.fail_when("sync /data/pcaps", Fault::LostPages, 1);
    desk.recorder.tick(12 * SECOND);
    assert!(matches!(desk.do_jobs()[..], [Report::SyncFailed(..)]));
    desk.recorder.tick(13 * SECOND);
    desk.record(&[record_of(100)]);
    let (files, _) = desk.sealed();
    let marks: Vec<_> = files.iter().map(|facts| (facts.state, facts.doubtful_from)).collect();
    assert_eq!(marks, [(State::Damaged, Some(124)), (State::Sealed, None)]);
}

#[test]
fn a_file_whose_final_name_is_taken_stays_and_one_without_packets_goes() {
    let mut desk = Desk::new(10_000);
    desk.record(&[record_of(100)]);
    desk.place.fs.plant(at("capture_20241231_143052_0001.pcap"), b"somebody else's");
    desk.recorder.rotate();
    assert!(matches!(desk.do_jobs()[..], [Report::Abandoned(..)]));
    desk.place.fs.fail_when("0002.pcap.part @24", Fault::Errno(Errno::IO), 1);
    let mut second = block(&[record_of(100)], FORMAT);
    assert!(desk.recorder.record(&mut second, 0, SECOND).refused.is_some());
    assert!(matches!(desk.do_jobs()[..], [Report::Removed(..)]));
    let names = ["capture_20241231_143052_0001.pcap", "capture_20241231_143052_0001.pcap.part"];
    assert_eq!(desk.place.names(), names);
    let kept = desk.place.fs.contents(at(names[0])).unwrap();
    assert_eq!(kept, b"somebody else's");
}
