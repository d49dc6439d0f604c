//! What becomes of a `.part`.

use std::sync::Arc;

use tapkeep::store::entry::Act;
use tapkeep::store::facts::State;
use tapkeep::store::keeper::{Keeper, Kept};
use tapkeep::store::losses::Losses;
use tapkeep::store::salvage::Salvaged;
use tapkeep::store::scan::End;

use super::support::pcap::{Shape, mix, parse_pcap, pcap_bytes};
use super::support::rig::layout;
use super::support::sim::SimFs;
use super::{Place, at};

const NAME: &str = "capture_20241231_143052_0007.pcap";
const PART: &str = "capture_20241231_143052_0007.pcap.part";

/// Five packets as they would lie in a file.
fn file() -> Vec<u8> {
    pcap_bytes(&mix(1, 5), Shape::default())
}

fn salvage(bytes: &[u8]) -> (Kept, Place, Keeper) {
    let fs = SimFs::new(64 << 20);
    tapkeep::sys::fs::Fs::create_dir(&fs, &layout().captures()).unwrap();
    fs.plant(at(PART), bytes);
    let place = Place::on(fs);
    let (kept, keeper) = salvage_in(&place);
    (kept, place, keeper)
}

fn salvage_in(place: &Place) -> (Kept, Keeper) {
    let mut keeper = Keeper::new(
        Arc::new(place.fs.clone()),
        layout(),
        place.data.ledger.clone(),
        Arc::new(place.clock.clone()),
        &place.data.entries,
        None,
        1 << 20,
    )
    .unwrap();
    let [part] = &keeper.parts()[..] else { panic!("there is one part") };
    (keeper.salvage(part), keeper)
}

#[test]
fn one_without_packets_goes() {
    let header = &file()[..24];
    let zeros = [0; 5000];
    let headed = [header, &zeros].concat();
    for bytes in [&[][..], &header[..9], header, &zeros, &headed, &file()[..60]] {
        let (kept, place, keeper) = salvage(bytes);
        assert!(matches!(kept, Kept::Salvaged(Salvaged::Empty(_))), "{kept:?}");
        assert!(place.names().is_empty() && place.acts().is_empty());
        assert!(keeper.parts().is_empty());
    }
}

#[test]
fn one_that_cannot_be_read_is_put_aside_as_it_is() {
    let mut headless = file();
    headless[0] = 0;
    let garbled = [&file()[..24], &[0xff; 100]].concat();
    for bytes in [headless, garbled, b"not a capture file at all".to_vec()] {
        let (kept, place, keeper) = salvage(&bytes);
        assert!(matches!(kept, Kept::Salvaged(Salvaged::Aside(..))), "{kept:?}");
        let aside = format!("{NAME}.damaged");
        assert_eq!(place.names(), [aside.as_str()]);
        assert_eq!(place.fs.contents(at(&aside)).unwrap(), bytes);
        assert!(matches!(place.acts()[..], [Act::Damage { .. }, Act::Found { .. }]));
        assert!(keeper.parts().is_empty());
        assert_eq!(keeper.catalog().capture(7).unwrap().state, State::Damaged);
    }
}

#[test]
fn one_with_packets_is_sealed_up_to_the_last_sound_one() {
    let whole = file();
    let four = pcap_bytes(&mix(1, 4), Shape::default());
    let cut = whole[..whole.len() - 1].to_vec();
    let mut zeros = whole.clone();
    zeros.resize(3 * 4096, 0);
    let garbage = [&whole[..], &[0xff; 40]].concat();
    for (bytes, kept_bytes, end) in [
        (whole.clone(), &whole, End::Clean),
        (cut, &four, End::Cut),
        (zeros, &whole, End::ZeroTail),
        (garbage, &whole, End::Implausible),
    ] {
        let (kept, place, keeper) = salvage(&bytes);
        let Kept::Salvaged(Salvaged::Kept(facts, gone, why)) = kept else { panic!("{kept:?}") };
        assert_eq!(place.names(), [NAME]);
        assert_eq!(place.fs.durable(at(NAME)).as_ref(), Some(kept_bytes), "{end:?}");
        assert_eq!((gone, why), ((bytes.len() - kept_bytes.len()) as u64, end));
        assert_eq!(facts.packets, parse_pcap(kept_bytes).0.len() as u64);
        assert_eq!((facts.state, facts.losses), (State::Salvaged, Losses::UNKNOWN));
        assert_eq!(keeper.catalog().capture(7), Some(&*facts));
    }
}

#[test]
fn a_seal_begun_before_the_crash_is_completed_and_one_in_doubt_is_salvaged() {
    let whole = file();
    let (_, place, keeper) = salvage(&whole);
    let mut sealed = keeper.catalog().capture(7).unwrap().clone();
    (sealed.state, sealed.losses) = (State::Sealed, Losses::unwritten(2));
    for (doubt, bytes, lost) in [(None, whole.clone(), 2), (Some(500), whole[..whole.len() - 1].to_vec(), 3)]
    {
        sealed.doubtful_from = doubt;
        sealed.state = if doubt.is_some() { State::Damaged } else { State::Sealed };
        let fs = place.fs.kill();
        tapkeep::sys::fs::Fs::remove(&fs, &at(NAME)).unwrap();
        fs.plant(at(PART), &bytes);
        let mut place = Place::on(fs);
        let told = place.data.ledger.append(Act::Seal { capture: sealed.clone() }).unwrap();
        place.data.entries.push(told);
        let (kept, keeper) = salvage_in(&place);
        match (doubt, kept) {
            (None, Kept::Salvaged(Salvaged::Completed(facts))) => assert_eq!(*facts, sealed),
            (Some(_), Kept::Salvaged(Salvaged::Kept(facts, ..))) => {
                assert_eq!((facts.state, facts.doubtful_from), (State::Damaged, doubt));
            }
            (_, kept) => panic!("{kept:?}"),
        }
        assert_eq!(keeper.catalog().capture(7).unwrap().losses.write, Some(lost));
        assert_eq!(place.names(), [NAME]);
    }
}
