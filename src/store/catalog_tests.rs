use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::store::losses::Losses;

fn name(number: u64) -> CaptureName {
    CaptureName::new(number, 1_735_655_452 + number as u32)
}

pub(crate) fn facts(number: u64, size: u64) -> CaptureFacts {
    CaptureFacts {
        name: name(number),
        state: State::Sealed,
        packets: size / 100,
        bytes: size,
        size,
        first: Some(number as Nanos * 1_000),
        last: Some(number as Nanos * 1_000 + 999),
        losses: Losses { queue: Some(number), ..Losses::NONE },
        clock_synchronised: Some(true),
        doubtful_from: None,
    }
}

fn entry(act: Act) -> Entry {
    Entry { at: Some(77), up_ms: 0, synchronised: true, act }
}

fn seal(number: u64) -> Entry {
    entry(Act::Seal { capture: facts(number, 1_000) })
}

fn evict(number: u64) -> Entry {
    entry(Act::Evict { capture: facts(number, 1_000), reason: "count".to_owned() })
}

fn file(number: u64, role: Role, size: u64) -> fs::Entry {
    fs::Entry { name: name(number).file_name(role), size }
}

#[test]
fn the_files_decide_and_the_ledger_tells() {
    let ledger = [seal(1), seal(2), seal(3), seal(4), seal(5), evict(1)];
    let listing = [
        file(2, Role::Sealed, 1_000),
        file(2, Role::Hold, 0),
        file(3, Role::Sealed, 999),
        file(5, Role::Part, 1_000),
        file(6, Role::Part, 24),
        file(7, Role::Damaged, 12),
        file(9, Role::Hold, 0),
        fs::Entry { name: "notes.txt".to_owned(), size: 1 },
    ];
    let catalog = Catalog::new(&ledger, &listing);
    assert_eq!(catalog.captures().collect::<Vec<_>>(), [&facts(2, 1_000)]);
    assert!(catalog.is_held(name(2)) && !catalog.is_held(name(9)));
    assert_eq!(catalog.vanished(), [facts(4, 1_000)]);
    let unknown = |number, role, size| Unknown { name: name(number), role, size };
    assert_eq!(catalog.unknown(), [unknown(3, Role::Sealed, 999), unknown(7, Role::Damaged, 12)]);
    assert_eq!(
        catalog.parts(),
        [
            Part { name: name(5), size: 1_000, seal: Some(facts(5, 1_000)) },
            Part { name: name(6), size: 24, seal: None },
        ]
    );
    assert_eq!(catalog.highest(), 9);
    let rows = catalog.rows();
    assert_eq!(rows[0].evicted, Some(Eviction { at: Some(77), reason: "count".to_owned() }));
    assert_eq!((rows.len(), rows[0].facts.state, rows[1].held), (2, State::Evicted, true));
}

#[test]
fn an_eviction_that_did_not_happen_is_taken_back() {
    let catalog = Catalog::new(&[seal(1), evict(1)], &[file(1, Role::Sealed, 1_000)]);
    assert_eq!(catalog.rows(), [Row { facts: facts(1, 1_000), held: false, evicted: None }]);
}

#[test]
fn of_two_files_with_one_number_the_ledger_chooses() {
    let other = CaptureName::new(1, 5);
    let listing = [
        fs::Entry { name: other.to_string(), size: 10 },
        file(1, Role::Sealed, 1_000),
        file(1, Role::Part, 1_000),
    ];
    let catalog = Catalog::new(&[seal(1)], &listing);
    assert_eq!(catalog.capture(1), Some(&facts(1, 1_000)));
    assert_eq!(catalog.clashes(), [other.to_string()]);
    assert_eq!(catalog.parts(), [Part { name: name(1), size: 1_000, seal: Some(facts(1, 1_000)) }]);
    assert_eq!(Catalog::new(&[], &listing).unknown().len(), 1);
}

#[test]
fn a_scanned_file_gets_the_facts_it_can_have() {
    use crate::packet::{LinkType, Precision};
    use crate::store::block::Tally;
    use crate::store::format::Format;
    use crate::store::scan::End;

    let unknown = Unknown { name: name(1), role: Role::Sealed, size: 100 };
    let format = Format { link: LinkType::ETHERNET, precision: Precision::Micro, snaplen: 96 };
    let tally = Tally { packets: 2, wire_bytes: 60, range: Some((1, 2)) };
    let scan = |sound| Scan { format, tally, last: None, sound, len: 100, end: End::Clean };
    let whole = unknown.facts(Some(&scan(100)));
    assert_eq!((whole.state, whole.packets, whole.losses), (State::Sealed, 2, Losses::UNKNOWN));
    let cut = unknown.facts(Some(&scan(60)));
    assert_eq!((cut.state, cut.doubtful_from, cut.last, cut.size), (State::Damaged, Some(60), Some(2), 100));
    let unreadable = unknown.facts(None);
    assert_eq!((unreadable.state, unreadable.packets, unreadable.size), (State::Damaged, 0, 100));
}

#[test]
fn history_is_bounded_and_the_highest_number_outlives_it() {
    let compacted =
        Act::Compacted { boot: String::new(), ages: Vec::new(), flow_ages: Vec::new(), highest: 4_711 };
    let mut catalog = Catalog::new(&[entry(compacted)], &[]);
    let mut changes = Vec::new();
    for number in 1..=HISTORY as u64 + 1 {
        catalog.apply(&seal(number));
        catalog.apply(&entry(Act::Gap { from: None, duration_ms: number, reason: String::new() }));
        catalog.apply(&entry(Act::ClockStep { by_ms: -1 }));
        changes = catalog.apply(&evict(number));
    }
    assert_eq!(changes[1..], [Change::Drop(1)]);
    assert_eq!(
        (catalog.evicted().count(), catalog.gaps().count(), catalog.steps().count()),
        (1_000, 1_000, 1_000)
    );
    assert_eq!(catalog.highest(), 4_711);
}

#[derive(Debug, Clone)]
enum Step {
    Seal,
    Interrupted,
    Evict(prop::sample::Index),
    EvictCutShort(prop::sample::Index),
    Hold(prop::sample::Index),
    Release(prop::sample::Index),
    Remove(prop::sample::Index),
    Foreign,
}

fn steps(by_hand: bool) -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let ours = prop_oneof![
        4 => Just(Step::Seal),
        2 => index().prop_map(Step::Evict),
        1 => index().prop_map(Step::Hold),
        1 => index().prop_map(Step::Release),
    ];
    let others = prop_oneof![
        Just(Step::Interrupted),
        index().prop_map(Step::EvictCutShort),
        index().prop_map(Step::Remove),
        Just(Step::Foreign),
    ];
    let step = if by_hand { prop_oneof![3 => ours, 1 => others].boxed() } else { ours.boxed() };
    prop::collection::vec(step, 0..60)
}

/// A data directory and its ledger, played through.
#[derive(Default)]
struct Life {
    ledger: Vec<Entry>,
    disk: BTreeMap<String, u64>,
    next: u64,
}

impl Life {
    fn act(&mut self, step: &Step) -> Option<Entry> {
        let sealed: Vec<u64> =
            (0..self.next).filter(|n| self.disk.contains_key(&name(*n).to_string())).collect();
        let pick = |index: &prop::sample::Index| (!sealed.is_empty()).then(|| *index.get(&sealed));
        let hold = |number| name(number).file_name(Role::Hold);
        let entry = match step {
            Step::Seal | Step::Interrupted | Step::Foreign => {
                let role = if matches!(step, Step::Interrupted) { Role::Part } else { Role::Sealed };
                self.disk.insert(name(self.next).file_name(role), 1_000);
                self.next += 1;
                (!matches!(step, Step::Foreign)).then(|| seal(self.next - 1))
            }
            Step::Evict(index) => pick(index).map(|number| {
                self.disk.remove(&name(number).to_string());
                self.disk.remove(&hold(number));
                evict(number)
            }),
            Step::EvictCutShort(index) => pick(index).map(evict),
            Step::Hold(index) => pick(index).map(|number| {
                self.disk.insert(hold(number), 0);
                entry(Act::Hold { name: name(number) })
            }),
            Step::Release(index) => pick(index).map(|number| {
                self.disk.remove(&hold(number));
                entry(Act::Release { name: name(number) })
            }),
            Step::Remove(index) => {
                pick(index).map(|number| self.disk.remove(&name(number).to_string()));
                None
            }
        };
        self.ledger.extend(entry.clone());
        entry
    }

    fn listing(&self) -> Vec<fs::Entry> {
        self.disk.iter().map(|(name, size)| fs::Entry { name: name.clone(), size: *size }).collect()
    }
}

/// A copy kept by following changes alone.
fn follow(copy: &mut BTreeMap<u64, Row>, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::Put(row) => _ = copy.insert(row.facts.name.number(), row),
            Change::Drop(number) => _ = copy.remove(&number),
            Change::Gap(_) | Change::ClearGaps => {}
            Change::PutFlow(_) | Change::DropFlow(_) | Change::Finding(_) | Change::DropFinding(_) => {}
        }
    }
}

fn flow_facts(number: u64, size: u64) -> FlowFacts {
    let name = FlowName::new(number, number as Nanos);
    FlowFacts { size, records: number, ..FlowFacts::bare(name, State::Sealed) }
}

fn flow_file(number: u64, size: u64) -> fs::Entry {
    fs::Entry { name: FlowName::new(number, number as Nanos).to_string(), size }
}

#[test]
fn flow_files_that_are_there_count_and_the_ledger_tells_of_them() {
    let seal = |number| entry(Act::FlowSeal { flows: flow_facts(number, 100) });
    let evict = |number| entry(Act::FlowEvict { flows: flow_facts(number, 100), reason: "bytes".to_owned() });
    // 1 is evicted, 2 is evicted and still there, 3 has another size, 5 is gone, 8 is on its way, 6 is not known.
    let ledger = [1, 2, 3, 4, 5, 8].map(seal).into_iter().chain([evict(1), evict(2)]).collect::<Vec<_>>();
    let listing =
        [flow_file(2, 100), flow_file(3, 99), flow_file(4, 100), flow_file(6, 1), file(9, Role::Sealed, 1)];
    let mut catalog = Catalog::new(&ledger, &[]);
    assert_eq!(catalog.settle_flows(&listing), [flow_facts(5, 100)]);
    assert_eq!(catalog.flows().collect::<Vec<_>>(), [&flow_facts(2, 100), &flow_facts(4, 100)]);
    let unknown = catalog.take_unknown_flows();
    assert_eq!(
        unknown.iter().map(|(name, size)| (name.number(), *size)).collect::<Vec<_>>(),
        [(3, 99), (6, 1)]
    );
    let rows: Vec<_> =
        catalog.flow_rows().iter().map(|row| (row.facts.name.number(), row.facts.state)).collect();
    assert_eq!(rows, [(1, State::Evicted), (2, State::Sealed), (4, State::Sealed)]);
    let changes = catalog.apply(&evict(4));
    assert!(matches!(&changes[..], [Change::PutFlow(row)] if row.evicted.is_some()));
    for number in 100..100 + HISTORY as u64 {
        catalog.apply(&evict(number));
    }
    assert_eq!((catalog.flow_rows().len(), catalog.flow_rows()[0].facts.name.number()), (1 + HISTORY, 2));
}

#[test]
fn of_findings_the_latest_stay_each_once() {
    let finding = |n: usize, count: u64| {
        let finding = serde_json::json!({"id": format!("port_scan-1-{n}"), "count": count, "observed": 1.5});
        Act::Finding { finding: KeptFinding::new(&finding).unwrap() }
    };
    let mut catalog = Catalog::default();
    let limit = super::super::finding::MAX_FINDINGS;
    for n in 0..limit {
        assert_eq!(catalog.apply(&entry(finding(n, 1))).len(), 1);
    }
    // The first has grown, so the second is the oldest.
    assert_eq!(catalog.apply(&entry(finding(0, 2))).len(), 1);
    let changes = catalog.apply(&entry(finding(limit, 1)));
    assert!(
        matches!(&changes[..], [Change::Finding(_), Change::DropFinding(id)] if &**id == "port_scan-1-1")
    );
    assert_eq!(catalog.findings().count(), limit);
    let read: serde_json::Value = catalog.findings().rev().nth(1).unwrap().read().unwrap();
    assert_eq!(read, serde_json::json!({"id": "port_scan-1-0", "count": 2, "observed": 1.5}));
}

proptest! {
    #[test]
    fn every_file_is_accounted_for_once(steps in steps(true)) {
        let mut life = Life::default();
        for step in &steps {
            life.act(step);
        }
        let catalog = Catalog::new(&life.ledger, &life.listing());
        let parts = catalog.parts().iter().map(|part| part.name.file_name(Role::Part));
        let unknown = catalog.unknown().iter().map(|unknown| unknown.name.to_string());
        let held = life.disk.keys().filter(|name| name.ends_with(".hold"));
        let mut told: Vec<_> = catalog.captures().map(|facts| facts.name.to_string()).collect();
        told.extend(parts.chain(unknown));
        told.sort();
        let there: Vec<_> = life.disk.keys().filter(|name| !name.ends_with(".hold")).cloned().collect();
        prop_assert_eq!(told, there);
        for marker in held {
            let (name, _) = CaptureName::parse(marker).unwrap();
            prop_assert_eq!(catalog.is_held(name), life.disk.contains_key(&name.to_string()));
        }
        for (gone, _) in catalog.evicted() {
            prop_assert!(!life.disk.contains_key(&gone.name.to_string()));
        }
        for gone in catalog.vanished() {
            prop_assert!(!life.disk.contains_key(&gone.name.to_string()));
        }
    }

    #[test]
    fn following_acts_and_following_changes_come_to_the_same(steps in steps(false)) {
        let (mut life, mut live, mut copy) = (Life::default(), Catalog::default(), BTreeMap::new());
        for step in &steps {
            if let Some(entry) = life.act(step) {
                follow(&mut copy, live.apply(&entry));
            }
        }
        prop_assert_eq!(copy.into_values().collect::<Vec<_>>(), live.rows());
        prop_assert_eq!(&Catalog::new(&life.ledger, &life.listing()), &live);
        let numbers: BTreeSet<_> = live.rows().iter().map(|row| row.facts.name.number()).collect();
        prop_assert_eq!(numbers.len(), live.rows().len());
    }
}
