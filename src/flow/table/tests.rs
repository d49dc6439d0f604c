use super::*;
use crate::packet::decode::{Fragment, Icmp, Macs, Ports};
use crate::packet::level::Path;

const S: Nanos = 1_000_000_000;

const LIMITS: FlowLimits = FlowLimits {
    flows: 1000,
    tcp_idle: 300 * S,
    tcp_half_open: 30 * S,
    tcp_closed: 5 * S,
    other_idle: 60 * S,
    active: 300 * S,
};

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];

fn packet(src: [u8; 4], dst: [u8; 4], proto: u8, transport: Transport) -> Packet<'static> {
    let fragment = None;
    let (src, dst) = (Addr::v4(src), Addr::v4(dst));
    let ip = Ip { src, dst, proto, ttl: 64, fragment, transport, payload: &[], payload_len: 0 };
    let macs = Some(Macs { src: Mac([1; 6]), dst: Mac([2; 6]) });
    Packet { path: Path::EMPTY, macs, vlan: Vlan::NONE, net: Net::Ip(ip), inner: None, flaws: Flaws::NONE }
}

fn udp(src: u16, dst: u16) -> Packet<'static> {
    packet(CLIENT, SERVER, 17, Transport::Udp(Ports { src, dst }))
}

fn tcp(from_client: bool, flags: u8, seq: u32) -> Packet<'static> {
    let (client, server) = ((CLIENT, 40_000), (SERVER, 80));
    let (src, dst) = if from_client { (client, server) } else { (server, client) };
    let ports = Ports { src: src.1, dst: dst.1 };
    packet(src.0, dst.0, 6, Transport::Tcp(Tcp { ports, seq, ack: 0, flags, window: 9 }))
}

fn icmp(src: [u8; 4], dst: [u8; 4], kind: u8, code: u8, payload: &'static [u8]) -> Packet<'static> {
    let mut packet = packet(src, dst, 1, Transport::Icmp(Icmp { kind, code, rest: 0 }));
    if let Net::Ip(ip) = &mut packet.net {
        (ip.payload, ip.payload_len) = (payload, payload.len() as u32);
    }
    packet
}

fn fragment(mut packet: Packet<'static>, id: u32, offset: u32, more: bool) -> Packet<'static> {
    if let Net::Ip(ip) = &mut packet.net {
        ip.fragment = Some(Fragment { id, offset, len: 8, more });
        if offset > 0 {
            ip.transport = Transport::Later;
        }
    }
    packet
}

/// A table with packets 100 bytes apart, and what it told.
struct Try {
    table: FlowTable,
    place: Place,
    heard: Heard,
}

#[derive(Default)]
struct Heard {
    events: Vec<(FlowEvent, u64)>,
    records: Vec<FlowRecord>,
}

impl Watcher for Heard {
    fn event(&mut self, event: FlowEvent, flow: &Flow, _: Nanos) {
        self.events.push((event, flow.id.offset));
        if let FlowEvent::Ended(reason) = event {
            self.records.push(flow.record(reason));
        }
    }
}

impl Try {
    fn new(limits: FlowLimits) -> Self {
        Self { table: FlowTable::new(limits), place: Place { file: 7, offset: 0 }, heard: Heard::default() }
    }

    fn at(&mut self, now: Nanos, packet: &Packet<'_>) -> Option<(u64, bool)> {
        let arrival = Arrival { at: 1_700_000_000 * S + now, now, place: self.place, wire_len: 100 };
        self.place.offset += 100;
        let flow = self.table.packet(packet, &arrival, &mut self.heard);
        flow.map(|(flow, from_orig)| (flow.id.offset, from_orig))
    }

    fn events(&mut self) -> Vec<(FlowEvent, u64)> {
        std::mem::take(&mut self.heard.events)
    }

    fn ends(&self) -> Vec<(&str, u32, EndReason)> {
        let ends = self.heard.records.iter();
        ends.map(|record| (record.flow_id.as_str(), record.part, record.end_reason)).collect()
    }
}

#[test]
fn each_class_of_flow_ends_after_its_own_idle_time() {
    use EndReason::{End, Idle};
    let handshake = [tcp(true, Tcp::SYN, 1), tcp(false, Tcp::SYN | Tcp::ACK, 1), tcp(true, Tcp::ACK, 2)];
    let mut closed = handshake.to_vec();
    closed.push(tcp(true, Tcp::RST, 2));
    for (packets, seconds, reason) in [
        (vec![udp(1, 2)], 60, Idle),
        (vec![icmp(CLIENT, SERVER, 8, 0, &[])], 60, Idle),
        (handshake[..1].to_vec(), 30, Idle),
        (handshake.to_vec(), 300, Idle),
        (closed, 5, End),
    ] {
        let mut t = Try::new(LIMITS);
        for packet in &packets {
            t.at(10 * S, packet);
        }
        t.table.expire(10 * S + seconds * S - 1, &mut t.heard);
        assert_eq!(t.ends(), []);
        t.table.expire(10 * S + seconds * S, &mut t.heard);
        assert_eq!(t.ends(), [("7-0", 0, reason)]);
        assert_eq!((t.table.counts().flows, t.table.oldest_open()), (0, None));
    }
}

#[test]
fn time_that_runs_backwards_ends_nothing() {
    let mut t = Try::new(LIMITS);
    t.at(1000 * S, &udp(1, 2));
    t.at(0, &udp(3, 4));
    t.at(0, &udp(1, 2));
    t.table.expire(0, &mut t.heard);
    assert_eq!(t.ends(), []);
    // And what came meanwhile is as old as all else.
    t.table.expire(1060 * S, &mut t.heard);
    assert_eq!(t.ends().len(), 2);
}

#[test]
fn a_long_flow_gives_parts_that_a_packet_follows() {
    let mut t = Try::new(LIMITS);
    for now in (0..=1000).step_by(50) {
        t.at(now * S, &udp(1, 2));
        t.at(now * S, &packet(SERVER, CLIENT, 17, Transport::Udp(Ports { src: 2, dst: 1 })));
    }
    t.table.expire(1060 * S, &mut t.heard);
    use EndReason::{Active, Idle};
    assert_eq!(t.ends(), [("7-0", 0, Active), ("7-0", 1, Active), ("7-0", 2, Active), ("7-0", 3, Idle)]);
    let records = &t.heard.records;
    assert_eq!(
        records.iter().map(|record| record.last_part).collect::<Vec<_>>(),
        [false, false, false, true]
    );
    assert_eq!(records.iter().map(|record| record.orig_packets + record.resp_packets).sum::<u64>(), 42);
    let places: Vec<_> = records.iter().flat_map(|record| &record.captures.0).copied().collect();
    assert_eq!(
        places,
        [Stretch(7, 0, 1100), Stretch(7, 1200, 2300), Stretch(7, 2400, 3500), Stretch(7, 3600, 4100)]
    );
    assert_eq!((records[1].end - records[1].start) / S, 250);
}

#[test]
fn events_come_in_order_and_once() {
    use FlowEvent::{Answered, Begun, Ended, Established, Refused};
    let mut t = Try::new(LIMITS);
    t.at(0, &tcp(true, Tcp::SYN, 1));
    assert_eq!(t.events(), [(Begun, 0)]);
    t.at(0, &tcp(false, Tcp::SYN | Tcp::ACK, 1));
    assert_eq!(t.events(), [(Answered, 0)]);
    t.at(0, &tcp(true, Tcp::ACK, 2));
    assert_eq!(t.events(), [(Established, 0)]);
    t.at(0, &tcp(false, Tcp::RST, 2));
    t.at(0, &tcp(false, Tcp::RST, 2));
    assert_eq!(t.events(), []);
    // The same ports anew, and refused.
    t.at(S, &tcp(true, Tcp::SYN, 9));
    assert_eq!(t.events(), [(Ended(EndReason::End), 0), (Begun, 500)]);
    t.at(S, &tcp(false, Tcp::RST | Tcp::ACK, 0));
    assert_eq!(t.events(), [(Answered, 500), (Refused, 500)]);
    // The same SYN once more is no other connection.
    assert_eq!(t.at(S, &tcp(true, Tcp::SYN, 9)), Some((500, true)));
    assert_eq!(t.events(), []);
}

#[test]
fn a_syn_ack_first_makes_its_receiver_the_originator() {
    let mut t = Try::new(LIMITS);
    assert_eq!(t.at(0, &tcp(false, Tcp::SYN | Tcp::ACK, 1)), Some((0, false)));
    assert_eq!(t.at(0, &tcp(true, Tcp::ACK, 1)), Some((0, true)));
    t.table.finish(0, &mut t.heard);
    let record = &t.heard.records[0];
    assert_eq!((record.src_ip, record.src_port), (Addr::v4(CLIENT), Some(40_000)));
    assert_eq!((record.src_mac, record.dst_mac), (Some(Mac([2; 6])), Some(Mac([1; 6]))));
    assert_eq!((record.orig_packets, record.resp_packets, record.end_reason), (1, 1, EndReason::Forced));
    assert_eq!((record.orig_tcp_flags, record.resp_tcp_flags), (Some(16), Some(18)));
    assert_eq!(record.history.as_deref(), Some("^hA"));
}

#[test]
fn icmp_messages_refuse_the_flow_that_they_quote_unless_it_was_answered() {
    // 10.0.0.1:1 to 10.0.0.2:2, UDP.
    static QUOTE: [u8; 28] =
        [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2, 0, 8, 0, 0];
    let router = [10, 0, 0, 254];
    for (kind, code, answered, refused) in [
        (3, 3, false, true),
        (3, 13, false, true),
        (3, 4, false, false),
        (11, 0, false, false),
        (3, 3, true, false),
    ] {
        let mut t = Try::new(LIMITS);
        t.at(0, &udp(1, 2));
        if answered {
            t.at(0, &packet(SERVER, CLIENT, 17, Transport::Udp(Ports { src: 2, dst: 1 })));
        }
        t.at(0, &icmp(router, CLIENT, kind, code, &QUOTE));
        t.at(0, &icmp(router, CLIENT, kind, code, &QUOTE));
        let times = t.events().into_iter().filter(|&event| event == (FlowEvent::Refused, 0)).count();
        assert_eq!(times, usize::from(refused), "{kind}/{code} {answered}");
    }
    // Cut anywhere it is no quote.
    for len in 0..24 {
        assert_eq!(quoted::quoted_key(&QUOTE[..len], Vlan::NONE), None);
    }
    assert!(quoted::quoted_key(&QUOTE[..24], Vlan::NONE).is_some());
}

#[test]
fn echo_and_reply_are_one_flow_and_other_icmp_one_each_way() {
    let mut t = Try::new(LIMITS);
    assert_eq!(t.at(0, &icmp(SERVER, CLIENT, 8, 0, &[])), Some((0, true)));
    assert_eq!(t.at(0, &icmp(CLIENT, SERVER, 0, 0, &[])), Some((0, false)));
    assert_eq!(t.at(0, &icmp(CLIENT, SERVER, 11, 0, &[])), Some((200, true)));
    assert_eq!(t.at(0, &icmp(SERVER, CLIENT, 11, 0, &[])), Some((300, true)));
    t.table.finish(0, &mut t.heard);
    let conversations = t.heard.records.iter().map(|record| record.key().0.conversation());
    let conversations: std::collections::BTreeSet<_> = conversations.collect();
    assert_eq!(conversations.len(), 1);
}

#[test]
fn later_fragments_join_their_first_one_for_half_a_minute() {
    let mut t = Try::new(LIMITS);
    assert_eq!(t.at(0, &fragment(udp(1, 2), 5, 0, true)), Some((0, true)));
    assert_eq!(t.at(0, &fragment(udp(1, 2), 5, 8, true)), Some((0, true)));
    // Another packet's, whose first fragment was not seen.
    assert_eq!(t.at(0, &fragment(udp(1, 2), 6, 8, false)), Some((200, true)));
    assert_eq!(t.at(30 * S, &fragment(udp(1, 2), 5, 16, false)), Some((0, true)));
    assert_eq!(t.at(31 * S, &fragment(udp(1, 2), 5, 16, false)), Some((200, true)));
    t.table.finish(0, &mut t.heard);
    let ids: Vec<_> = t.heard.records.iter().map(|record| record.community_id.is_some()).collect();
    assert_eq!(ids, [true, false]);
}

#[test]
fn a_first_fragment_is_read_again_while_others_may_follow() {
    let mut t = Try::new(FlowLimits { other_idle: S, ..LIMITS });
    t.at(0, &fragment(udp(1, 2), 5, 0, true));
    t.table.expire(2 * S, &mut t.heard);
    assert_eq!(t.ends(), [("7-0", 0, EndReason::Idle)]);
    assert_eq!(t.table.oldest_open(), Some(Place { file: 7, offset: 0 }));

    // The record is written, and the table lost.
    let mut again = Try::new(LIMITS);
    again.table.resume(&t.heard.records);
    assert_eq!(again.at(0, &fragment(udp(1, 2), 5, 0, true)), None);
    assert_eq!(again.at(3 * S, &fragment(udp(1, 2), 5, 8, false)), Some((100, true)));
    again.table.finish(0, &mut again.heard);
    assert_eq!(again.heard.records[0].src_port, Some(1));

    // A minute later nothing is to be expected.
    t.table.expire(31 * S, &mut t.heard);
    t.table.expire(62 * S, &mut t.heard);
    assert_eq!(t.table.oldest_open(), None);
}

#[test]
fn a_full_table_lets_the_longest_idle_flow_go() {
    let mut t = Try::new(FlowLimits { flows: 3, ..LIMITS });
    for (now, port) in [(0, 1), (1, 2), (2, 3), (3, 1), (4, 4), (5, 5)] {
        t.at(now * S, &udp(port, 99));
    }
    // 1 was heard of again, so 2 went first, then 3.
    assert_eq!(t.ends(), [("7-100", 0, EndReason::Resources), ("7-200", 0, EndReason::Resources)]);
    let counts = t.table.counts();
    assert_eq!((counts.flows, counts.begun, counts.evicted), (3, 5, 2));
    assert_eq!(t.table.oldest_open(), Some(Place { file: 7, offset: 0 }));
}

#[test]
fn every_packet_of_a_part_is_named() {
    let mut t = Try::new(FlowLimits { other_idle: Nanos::MAX, active: Nanos::MAX, ..LIMITS });
    // Twenty stretches in one file, and then other files.
    for _ in 0..20 {
        t.at(0, &udp(1, 2));
        t.place.offset += 2 << 20;
    }
    for _ in 0..40 {
        t.place = Place { file: t.place.file + 1, offset: 24 };
        t.at(0, &udp(1, 2));
    }
    t.table.finish(0, &mut t.heard);
    let files = |record: &FlowRecord| record.captures.0.iter().map(|stretch| stretch.0).collect::<Vec<_>>();
    assert_eq!(files(&t.heard.records[0]), [7; 16]);
    assert_eq!(t.heard.records[0].captures.0[15].2, (2 << 20) * 19 + 1900);
    assert_eq!(files(&t.heard.records[1]), (8..24).collect::<Vec<_>>());
    assert_eq!(files(&t.heard.records[3]), (40..48).collect::<Vec<_>>());
    assert!(t.heard.records.iter().all(|record| record.flow_id == "7-0"));
}

#[test]
fn a_record_that_is_read_again_is_the_same() {
    let mut t = Try::new(LIMITS);
    t.at(0, &tcp(true, Tcp::SYN, 1));
    let mut tagged = icmp(CLIENT, SERVER, 8, 0, &[]);
    tagged.vlan = Vlan { outer: 7, inner: 9 };
    t.at(0, &tagged);
    tagged.vlan.inner = 0;
    t.at(0, &tagged);
    t.at(0, &packet(CLIENT, SERVER, 253, Transport::Portless));
    t.table.finish(0, &mut t.heard);
    let text = |record: &FlowRecord| serde_json::to_string(record).unwrap();
    for record in &t.heard.records {
        let mut value: serde_json::Value = serde_json::from_str(&text(record)).unwrap();
        value["of_a_later_version"] = serde_json::json!([1, {"a": 2}]);
        assert_eq!(serde_json::from_value::<FlowRecord>(value).unwrap(), *record);
    }
    assert_eq!(
        text(&t.heard.records[0]),
        concat!(
            r#"{"flow_id":"7-0","part":0,"final":true,"community_id":"1:3k1SoWXs/FltHw2aBCgUTgbDQF4=","#,
            r#""start":"2023-11-14T22:13:20.000000000Z","end":"2023-11-14T22:13:20.000000000Z","#,
            r#""src_ip":"10.0.0.1","src_port":40000,"dst_ip":"10.0.0.2","dst_port":80,"#,
            r#""src_mac":"01:01:01:01:01:01","dst_mac":"02:02:02:02:02:02","proto":6,"transport":"tcp","#,
            r#""orig_packets":1,"orig_bytes":100,"resp_packets":0,"resp_bytes":0,"#,
            r#""orig_payload_bytes":0,"resp_payload_bytes":0,"missed_bytes":0,"conn_state":"S0","history":"S","#,
            r#""orig_tcp_flags":2,"resp_tcp_flags":0,"min_ttl":64,"max_ttl":64,"end_reason":"forced","#,
            r#""captures":[[7,0,0]]}"#
        )
    );
    assert!(
        text(&t.heard.records[1])
            .contains(r#""vlan":[7,9],"proto":1,"transport":"icmp","icmp_type":8,"icmp_code":0,"#)
    );
    assert!(text(&t.heard.records[2]).contains(r#""vlan":7,"proto":1"#));
    assert!(text(&t.heard.records[3]).contains(r#""proto":253,"orig"#));
}

#[test]
fn facts_take_no_more_than_their_bound() {
    let mut bound = apps::Bound::default();
    let mut booked = [0; 4];
    for booked in &mut booked {
        bound.book(booked, 10 << 20);
    }
    assert_eq!((bound.bytes(), bound.refused(), booked[3]), (30 << 20, 1, 0));
    assert!(bound.book(&mut booked[0], 1));
    assert!(bound.book(&mut booked[3], 10 << 20));
}

#[test]
fn a_flow_takes_so_much_memory() {
    // And 16 bytes of links, 10 to 21 of the hash table; 368 where packets lie more than 1 MiB apart; facts.
    assert_eq!(size_of::<Flow>(), if cfg!(target_pointer_width = "64") { 456 } else { 440 });
    let mut t = Try::new(FlowLimits { flows: 10_000, ..LIMITS });
    for port in 0..20_000 {
        t.at(0, &udp(port, 1));
    }
    let counts = t.table.counts();
    assert_eq!((counts.flows, counts.begun, counts.evicted), (10_000, 20_000, 10_000));
    assert!(counts.memory <= 10_000 * 516, "{}", counts.memory);
}
