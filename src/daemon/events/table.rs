//! The table of events. An id stays for ever: an event that means something else gets a new one (`journalctl --new-id128`).

use super::Kind;
use super::Priority::{Err, Info, Notice, Warning};

macro_rules! kinds {
    ($($kind:ident = $name:literal, $id:literal, $priority:ident, $bound:literal, [$($field:ident),*], $meaning:literal,
       $example:literal;)+) => {
        $(
            #[doc = $meaning]
            pub const $kind: Kind = Kind {
                name: $name,
                id: $id,
                priority: $priority,
                per_minute: $bound,
                fields: &[$(stringify!($field)),*],
                meaning: $meaning,
                example: $example,
            };
        )+
        /// All of them.
        pub const ALL: &[Kind] = &[$($kind),+];
    };
}

// Name, id, priority, lines a minute, fields; what it means; a line.
kinds! {
    START = "start", "805b21890662edc574cf3f49891be744", Info, 10, [TAPKEEP_VERSION, TAPKEEP_INTERFACE, TAPKEEP_DATA_DIR],
        "The service has begun.",
        "tapkeep 0.1.0 records eth1 into /var/lib/tapkeep";
    SAVING_OFF = "saving_off", "5c75c3baaf5b7170e0700d5369ae5918", Info, 10, [],
        "The configuration says to keep no packets (SAVE_PCAP=false).",
        "saving is off: flows, summaries and findings are kept, and no packet";
    FILES_SMALLER = "files_smaller", "8dafa9cc8892de028272a211a16dac2b", Notice, 10, [TAPKEEP_SIZE, TAPKEEP_WANTED],
        "The disk is small: capture files end earlier than configured, so that retention can make room.",
        "files end at 60000000 bytes instead of 100000000: larger ones leave retention no room on this disk";
    SETTING_UNKNOWN = "setting_unknown", "9f87dba35469e97228b976d85c0ea4be", Warning, 20, [TAPKEEP_REASON],
        "A key of the configuration is not known, and has no effect. `tapkeep config check` tells all mistakes.",
        "/etc/tapkeep/tapkeep.toml:12: capture.snaplenn is no key; did you mean capture.snaplen?";
    RELOADED = "reloaded", "f69c58b9a6985952790ba1e2a1d1a4b9", Info, 10, [],
        "SIGHUP: the configuration was read again, and what may change while the service runs is in force.",
        "the configuration is reloaded";
    RELOAD_REFUSED = "reload_refused", "713274cb63f45811cb51512da82c0e54", Warning, 10, [TAPKEEP_REASON],
        "SIGHUP: the configuration has mistakes. The one of before stays in force.",
        "the configuration is not reloaded: recorder.rotation_size = \"0\": 64 kB to 1 TB";
    SETTING_WAITS = "setting_waits", "e70699488534e6ef2d6438f64891e70c", Warning, 20, [TAPKEEP_SETTING],
        "SIGHUP: a key has changed that is read at the start alone. Restart the service to put it in force.",
        "capture.interface has changed; that takes effect at the next start";
    STOPPING = "stopping", "28dd4f76a7153fd3070e0868033f19e1", Info, 10, [],
        "The service was told to stop, and writes what has arrived.",
        "stopping: writing what has arrived";
    STOPPED = "stopped", "68679f83d7d11eb8231d6f69aac306f5", Info, 10, [TAPKEEP_PACKETS, TAPKEEP_LOST],
        "The service has ended in order; all it took is sealed. The counts are those since its start; a missing one is not known.",
        "stopped";
    ABANDONED = "abandoned", "685655d3c3e4121e693fd42acfda932c", Warning, 10, [],
        "A second signal ended the service at once. What was not sealed is salvaged at the next start.",
        "stopped again: what is not sealed yet is left to salvage";
    FAILED = "failed", "598af0aae364a67d01c492ecd5eeea3a", Err, 10, [TAPKEEP_REASON],
        "The service cannot start, or cannot go on, and ends.",
        "data directory /var/lib/tapkeep is in use by another tapkeep; stop it, or give this one another --data-dir";
    THREAD_PANICKED = "thread_panicked", "71720a20794fc5d59354599c43a90dfc", Err, 10, [TAPKEEP_THREAD],
        "A thread of the service has ended by an error of the program. The service ends, and what that thread held is salvaged at the next start. Please report it.",
        "thread analyst has panicked; what it held is left to salvage";
    THREAD_STALLED = "thread_stalled", "996a8a6f50b0697f238d7ef9bbe2ee27", Warning, 10, [TAPKEEP_THREAD, TAPKEEP_SECONDS],
        "A thread has work and has not moved for a while: most often the disk does not answer. Nothing is lost as long as the queue has room.",
        "thread recorder has not moved for 30 s";
    THREAD_STUCK = "thread_stuck", "ee8c870b2e983d26817d7abf96318e7f", Err, 10, [TAPKEEP_THREAD, TAPKEEP_SECONDS],
        "A thread has work and has not moved for so long that the watchdog is fed no more: systemd ends the service and starts it again.",
        "thread recorder has not moved for 45 s: the watchdog is left to act";
    THREAD_MOVES = "thread_moves", "b58266477732971f0b1ca7c721197692", Info, 10, [TAPKEEP_THREAD, TAPKEEP_SECONDS],
        "A thread that had stalled moves again.",
        "thread recorder moves again after 33 s";
    STATE_UNTOLD = "state_untold", "98dc004a0e4b755c9fb3c7379494ab9b", Warning, 10, [TAPKEEP_REASON],
        "The state cannot be written into the runtime directory: `tapkeep status` does not find this service, or finds it stale.",
        "tell the state in /run/tapkeep: permission denied; `tapkeep status` will not find this service";
    STATE_TOLD = "state_told", "3256af9ad29f504f846817d2c1c9d2ef", Info, 10, [],
        "The state is written again.",
        "the state is told again";
    METRICS_UNWRITTEN = "metrics_unwritten", "0182d8f8e7dc4d8a5f84a86f1698cb3d", Warning, 10, [TAPKEEP_FILE, TAPKEEP_REASON],
        "The metrics file cannot be written: its folder is missing, full or not writable. What reads it finds old figures.",
        "write metrics to /run/tapkeep/tapkeep.prom: permission denied; trying again";
    METRICS_WRITTEN = "metrics_written", "16350fffced25d07d04a1d8c78cdcdfa", Info, 10, [TAPKEEP_FILE],
        "The metrics file is written again.",
        "metrics are written to /run/tapkeep/tapkeep.prom again";
    CLOCK_STEP = "clock_step", "578f8f8cddec4c1c692d5bff18cfe6e6", Notice, 10, [TAPKEEP_STEP_MS],
        "The wall clock jumped against the running one, as it does when a board without a clock of its own is synchronised. It evicts nothing.",
        "the wall clock has stepped by 86400000 ms";
    LEFT_OUT = "left_out", "edd60d1a65380aa5dfeb4406277421ed", Notice, 200, [TAPKEEP_OF, TAPKEEP_COUNT],
        "More lines came than are logged: of one event within a minute, or of any while the journal took none. So many were left out; `tapkeep list`, `suspicious` and the ledger have what they told of.",
        "37 more lines of finding are left out";
    WAITING = "waiting", "43fd6fee45313dad0c155285d4b904ec", Info, 10, [TAPKEEP_INTERFACE, TAPKEEP_REASON],
        "There is nothing to capture from yet since the start.",
        "waiting: interface eth1 has no carrier";
    STILL_WAITING = "still_waiting", "ca457cde271f0a37a6976801b919a6a3", Warning, 10, [TAPKEEP_INTERFACE, TAPKEEP_REASON, TAPKEEP_SECONDS],
        "Half a minute after the start there is still nothing to capture from: configure the interface, or look at the cable.",
        "waiting for 30 s: no interface is configured";
    CAPTURING = "capturing", "308bed91512e68871d40c8c1c8e9228d", Info, 10, [TAPKEEP_INTERFACE],
        "Packets can arrive from now on.",
        "capturing";
    LINK_LOST = "link_lost", "0c1cd4352080034d16645a47a8c314b1", Warning, 10, [TAPKEEP_INTERFACE, TAPKEEP_REASON],
        "The interface was captured from and went down, lost its carrier or failed. It is waited for, and the gap is kept on record.",
        "waiting: interface eth1 has no carrier";
    INTERFACE_GONE = "interface_gone", "c39993ebc53ce08d60b48639faf7b48e", Warning, 10, [TAPKEEP_INTERFACE, TAPKEEP_REASON],
        "The interface was captured from and is no longer there. It is waited for, and the gap is kept on record.",
        "waiting: there is no interface eth1";
    LINK_BACK = "link_back", "5d566ec1f4c888958b8ed1685ccfba2a", Info, 10, [TAPKEEP_INTERFACE, TAPKEEP_REASON, TAPKEEP_GAP_MS],
        "The interface came back, and is captured from again.",
        "capturing again after 3.1s: interface eth1 has no carrier";
    LOSS = "loss", "9b9891b6e5cf72374e63ff1e3dd2dcf8", Warning, 40, [TAPKEEP_CAUSE, TAPKEEP_COUNT, TAPKEEP_TOTAL],
        "Packets are being lost: told when it begins and then every 10 seconds at most. COUNT are those since the line before, TOTAL those since the start.",
        "lost 1523 packets (kernel), 1523 since the start";
    LOSS_END = "loss_end", "5eda98e480178fc9b5f451d0307d500f", Info, 40, [TAPKEEP_CAUSE, TAPKEEP_COUNT, TAPKEEP_SECONDS],
        "No packet was lost for 10 seconds. COUNT are all that were lost in that stretch of SECONDS.",
        "no more loss (kernel): 20160 packets were lost within 35 s";
    SEAL = "seal", "f809c5fc9796200651cde7839f4b8166", Info, 20, [TAPKEEP_FILE, TAPKEEP_PACKETS, TAPKEEP_SIZE, TAPKEEP_LOST],
        "A capture file is complete, synced and under its final name. LOST are packets that it misses; a missing count is not known.",
        "sealed capture_20241231_143052_0001.pcap: 120934 packets, 99999871 bytes, 0 lost";
    FLOW_SEAL = "flow_seal", "7048ebbab3196b163e0d1297ccb39acc", Info, 20, [TAPKEEP_FILE, TAPKEEP_RECORDS, TAPKEEP_SIZE],
        "A flow file is complete, synced and under its final name.",
        "sealed flows_20241231_143052_0001.jsonb: 30211 records, 16000044 bytes";
    SEAL_DELAYED = "seal_delayed", "8c15d7282bfadf0a89d41f1ab7bcc751", Warning, 10, [TAPKEEP_FILE, TAPKEEP_REASON],
        "A file could not be sealed; it is tried again, and stays readable meanwhile.",
        "seal capture_20241231_143052_0001.pcap: rename capture_20241231_143052_0001.pcap.part: input/output error; trying again";
    SEAL_FAILED = "seal_failed", "1bef3bb19ddb98ecdd4295f2a101f12a", Err, 10, [TAPKEEP_FILE, TAPKEEP_REASON],
        "A file cannot be sealed: its final name is taken, or it is gone. What is there is left as it is, for a person to look at.",
        "seal capture_20241231_143052_0001.pcap: rename capture_20241231_143052_0001.pcap.part: file exists; it is left as it is";
    EMPTY = "empty", "64f464719264a7f3e2729afb43ef5794", Info, 10, [TAPKEEP_FILE],
        "A capture file without a packet was removed.",
        "capture_20241231_143052_0001.pcap held no packet and is gone";
    SALVAGE = "salvage", "761cd13800fc2f45528c67d68c07017e", Warning, 20, [TAPKEEP_FILE, TAPKEEP_PACKETS, TAPKEEP_CUT, TAPKEEP_REASON],
        "A crash or power cut left a capture file unfinished. It was kept up to its last sound record and sealed; CUT bytes behind it were none.",
        "salvaged capture_20241231_143052_0001.pcap: 8400 packets, 2048 bytes cut, zeros that were never written";
    FLOW_SALVAGE = "flow_salvage", "1ec4dba4cb0fbbea6a99a3c73486dc03", Warning, 20, [TAPKEEP_FILE, TAPKEEP_RECORDS],
        "A crash or power cut left a flow file unfinished. It is sealed as it is; flows that it misses are made again from the captures.",
        "salvaged flows_20241231_143052_0001.jsonb: 4100 records";
    SEAL_COMPLETED = "seal_completed", "f0618f459fc110c7860310729593b271", Info, 20, [TAPKEEP_FILE],
        "A crash interrupted the sealing of a capture file, which is complete now.",
        "completed the interrupted sealing of capture_20241231_143052_0001.pcap";
    SALVAGE_FAILED = "salvage_failed", "793267ef9aedec3aa4a9aa26f7f70bd3", Err, 10, [TAPKEEP_REASON],
        "A file that a crash left cannot be dealt with now; it is tried again each minute.",
        "salvage capture_20241231_143052_0001.pcap.part: sync: input/output error; it is tried again in a minute";
    EVICT = "evict", "4ad459b9fec53992dfe22921dd53bad2", Info, 20, [TAPKEEP_FILE, TAPKEEP_SIZE, TAPKEEP_REASON],
        "Retention has removed a file.",
        "evicted capture_20241231_143052_0001.pcap (99999871 bytes): more than 10 files";
    EVICT_FAILED = "evict_failed", "a5b4f696678977269054a99bf89d85a7", Err, 10, [TAPKEEP_FILE, TAPKEEP_REASON],
        "Retention could not remove a file.",
        "evict capture_20241231_143052_0001.pcap: remove capture_20241231_143052_0001.pcap: read-only file system";
    HOLD = "hold", "292cd789acda9d4e7a53e7b69240170f", Info, 20, [TAPKEEP_FILE],
        "A person keeps a capture file from retention.",
        "capture_20241231_143052_0001.pcap is held";
    RELEASE = "release", "c9e9eaf2f833735d98069722cdd4c0f8", Info, 20, [TAPKEEP_FILE],
        "A person gave a capture file back to retention.",
        "capture_20241231_143052_0001.pcap is released";
    FOUND = "found", "683cde31238abe84315c888fa8c0b524", Info, 20, [TAPKEEP_FILE],
        "A finished file that the ledger did not know was read and taken in.",
        "took in capture_20241231_143052_0001.pcap, which the ledger did not know";
    VANISHED = "vanished", "ba763cd08332e5b1d87eda977cedbc5f", Warning, 20, [TAPKEEP_FILE],
        "A file is gone, and Tapkeep has not removed it.",
        "capture_20241231_143052_0001.pcap is gone, and not by retention";
    CLASH = "clash", "3a95e1371eb2e83c2656412d666e41b3", Warning, 20, [TAPKEEP_FILE],
        "A file has the index number of another one. It is left alone, and in no answer.",
        "capture_20241231_143052_0001.pcap has the index number of another file; it is left alone";
    DAMAGE = "damage", "95048faf9d03fa6d7ab3a40c3c343e6c", Err, 20, [TAPKEEP_FILE, TAPKEEP_FROM, TAPKEEP_TO, TAPKEEP_REASON],
        "Bytes of a file are damaged, doubtful or unreadable: those from FROM up to, not including, TO, or all of it.",
        "capture_20241231_143052_0001.pcap is damaged from byte 81920: it was not synced";
    DISK_TROUBLE = "disk_trouble", "684ac98150615e71ea6ec8bdb2c94a46", Warning, 10, [TAPKEEP_REASON],
        "The disk takes no packets. They wait in the queue, and are lost (cause write) when it is full.",
        "write to capture file capture_20241231_143052_0001.pcap: no space left on device; trying again, packets wait in the queue";
    DISK_BACK = "disk_back", "44543e37dd023e31c3bbeb751a2145d3", Info, 10, [],
        "The disk takes packets again.",
        "the disk takes packets again";
    SYNC_FAILED = "sync_failed", "4a870af0118c37bfd458309287216c78", Err, 10, [TAPKEEP_FILE, TAPKEEP_REASON],
        "The device did not confirm what was written. The file ends there, and what was not synced before is doubtful.",
        "sync capture_20241231_143052_0001.pcap: input/output error; it is sealed with what was synced before, and a new file begun";
    LEDGER_TROUBLE = "ledger_trouble", "a9bca1b58255db7b4b63cd3126cb67d7", Err, 10, [TAPKEEP_REASON],
        "Something could not be written into the ledger.",
        "append to ledger /var/lib/tapkeep/ledger.jsonb: input/output error";
    RETENTION_TROUBLE = "retention_trouble", "d20b88903bb6af27e4ca9147b19c7c30", Err, 10, [TAPKEEP_REASON],
        "Retention could not look at the files or at the disk.",
        "retention: look at the free space: input/output error";
    FINDING = "finding", "a2e7ba20f322496d4590b14ce28ddc15", Notice, 20, [TAPKEEP_FINDING, TAPKEEP_DETECTOR, TAPKEEP_SEVERITY, TAPKEEP_TECHNIQUE, TAPKEEP_SRC, TAPKEEP_DST, TAPKEEP_PORT, TAPKEEP_COUNT, TAPKEEP_FIRST, TAPKEEP_LAST],
        "A detector has found something of severity low, medium or high; `tapkeep suspicious` has it with its evidence. One that went on is told again when its hour is over.",
        "port_scan (Medium): 192.168.7.1 tried at least 10 ports of 192.168.7.2 in vain, within a minute";
    ANALYSIS_OFF = "analysis_off", "fa3b8d20bef8e082b37e16e071afc8d0", Err, 10, [TAPKEEP_REASON],
        "The flow files cannot be read: packets are recorded, and not analysed until the next start.",
        "list /var/lib/tapkeep/flows: input/output error; packets are recorded, and not analysed until the next start";
    UNANALYSED = "unanalysed", "20caa8db4cc6c3dbf9fbcec5d0421768", Warning, 10, [TAPKEEP_FILE, TAPKEEP_PACKETS, TAPKEEP_REASON],
        "Packets were recorded and cannot be analysed any more; most often retention was faster.",
        "capture_20241231_143052_0001.pcap: 8400 packets could not be analysed: it is gone";
    FLOWS_TROUBLE = "flows_trouble", "88b1a574aa68a85f14ded0b0ee5f2f3e", Warning, 10, [TAPKEEP_REASON],
        "Flow records cannot be written. They wait in memory, and are lost when that is full (cause records).",
        "write to flow file /var/lib/tapkeep/traffic_flows.jsonb: no space left on device; trying again";
    FLOWS_BACK = "flows_back", "9ae32eeb14cda864945d5dba0cde4e29", Info, 10, [],
        "Flow records are written again.",
        "flow records are written again";
    ANALYSIS_LEFT = "analysis_left", "89c86670e25ee2f3600f465b6c3af090", Info, 10, [],
        "The service ends before all that was recorded is analysed; the next start goes on with it.",
        "captures that are not analysed yet are left to the next start";
    RECORDS_AGAIN = "records_again", "2fb3768d2e51606e5dc69c50e5ae4214", Warning, 10, [TAPKEEP_COUNT],
        "Flow records could not be written, or are too many to remember across a restart: some flows are recorded again.",
        "flow records that could not be written are made again at the next start";
    DETECTORS_UNSAVED = "detectors_unsaved", "e7b309dbfa5bf3491170874d4d4a0de2", Warning, 10, [TAPKEEP_REASON],
        "What the detectors remember could not be saved for a restart; it is tried again in five minutes.",
        "save the state of the detectors: no space left on device; trying again in 300s";
    INDEX_STALE = "index_stale", "04be43484e95f39005e382d2692715ad", Warning, 10, [TAPKEEP_REASON],
        "The index cannot follow. Recording goes on, answers come from the files, and the index catches up when it can.",
        "the index no longer follows: database or disk is full; recording goes on, the files answer";
    INDEX_CURRENT = "index_current", "bb544470ff7b58bb816ed0b533de2195", Info, 10, [],
        "The index follows again.",
        "the index follows again";
    INDEX_NEW = "index_new", "92f1ed7fd628055140b7eaf2906f532a", Info, 10, [],
        "There was no index, and it is built from the files.",
        "made a new index";
    INDEX_UPGRADED = "index_upgraded", "a6de3c3c0af15ea6b45d04724b6195b0", Info, 10, [TAPKEEP_SCHEMA],
        "The index was of an older schema, and is brought up to date.",
        "brought the index from schema 3 up to date";
    INDEX_ASIDE = "index_aside", "1ec8de3029dae78c778ca0a803afc8f0", Warning, 10, [TAPKEEP_FILE, TAPKEEP_REASON],
        "The index was damaged, or of a newer version. It was put aside, and is built again from the files.",
        "put the index aside as /var/lib/tapkeep/index.sqlite3.damaged: file is not a database";
    INDEX_CORRECTED = "index_corrected", "f96fca8d7cdbe22ff4cda7f1ffbbe8cf", Info, 10, [TAPKEEP_COUNT],
        "Rows of the index differed from the files, as after a crash, and are corrected.",
        "brought 3 rows of the index up to date";
}
