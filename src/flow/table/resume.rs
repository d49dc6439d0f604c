//! Going on after a crash: which packets records cover that are written already, and which flows go on.
//!
//! Records are written in the order in which they were made, so of each key all packets up to the last one that a record names are
//! covered. A record that is not final was made because another packet of its flow had come: so the first packet of the key
//! behind it goes on with the flow, and no time has to be compared.

use hashbrown::HashMap;

use super::*;

/// What was written of a key.
#[derive(Debug)]
struct Written {
    /// The last packet covered.
    until: Place,
    /// The last record, if more of its flow is to come.
    open: Option<Box<Open>>,
}

/// A flow that goes on.
#[derive(Debug)]
pub(super) struct Open {
    record: FlowRecord,
    /// What the parts known of sum up to, and when the first of them began.
    before: [(u64, u64); 2],
    start: Nanos,
}

/// What was written before a restart.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    keys: HashMap<FlowKey, Written, foldhash::quality::RandomState>,
    /// The last packet covered of any key.
    until: Place,
    /// How long a flow that goes on may be silent.
    idle: Nanos,
    /// When no more of them is to be expected; set when `until` is passed.
    over: Option<Nanos>,
}

impl Resumed {
    pub(super) fn new(written: &[FlowRecord], idle: Nanos) -> Self {
        let mut all = Self { idle, ..Self::default() };
        for record in written {
            let Some(until) = record.captures.last_place() else { continue };
            all.until = all.until.max(until);
            let known = all.keys.entry(record.key().0).or_insert(Written { until, open: None });
            known.until = known.until.max(until);
            let same = known.open.take().filter(|open| open.record.flow_id == record.flow_id);
            if record.last_part {
                continue;
            }
            let (mut before, start) =
                same.map_or(([(0, 0); 2], record.start), |open| (open.before, open.start));
            before[0].0 += record.orig_packets;
            before[0].1 += record.orig_bytes;
            before[1].0 += record.resp_packets;
            before[1].1 += record.resp_bytes;
            known.open = Some(Box::new(Open { record: record.clone(), before, start }));
        }
        all
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a record covers the packet.
    #[cold]
    pub(super) fn covers(&mut self, key: &FlowKey, place: Place, now: Nanos) -> bool {
        if place > self.until {
            let over = *self.over.get_or_insert(now.saturating_add(self.idle));
            if now > over {
                self.keys = HashMap::default();
                return false;
            }
        }
        self.keys.get(key).is_some_and(|written| place <= written.until)
    }

    /// The flow that goes on under a key.
    pub(super) fn take(&mut self, key: &FlowKey) -> Option<Box<Open>> {
        if self.keys.is_empty() { None } else { self.keys.remove(key)?.open }
    }
}

impl Flow {
    /// Makes a flow that a packet has just begun go on as what was written of it.
    pub(super) fn resume(&mut self, open: &Open) {
        let Open { record, before, start } = open;
        let Some(id) = record.id() else { return };
        self.id = id;
        self.part = record.part.saturating_add(1);
        self.forward = record.key().1;
        self.began = (*start).min(self.began);
        self.answered = if before[1].0 > 0 { self.began.max(1) } else { 0 };
        self.before = *before;
        self.orig.flags = record.orig_tcp_flags.unwrap_or_default();
        self.resp.flags = record.resp_tcp_flags.unwrap_or_default();
        self.macs = record.src_mac.zip(record.dst_mac);
        self.icmp = record.icmp_type.zip(record.icmp_code);
        self.ttl = (record.min_ttl, record.max_ttl);
        self.inner.whole = record.community_id.is_some();
        self.inner.tcp = Tracker::default();
        if let Some(state) = record.conn_state {
            self.inner.tcp.restore(state, record.history.as_deref().unwrap_or_default(), record.rtt_us);
        }
        self.resume_app(record);
    }
}
