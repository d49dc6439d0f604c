//! Names of levels, and protocol trees.

use super::*;

/// A path up to what is above the levels that are told here.
fn below_applications(path: &str) -> String {
    let levels =
        path.split(':').take_while(|level| !level.starts_with("_ws") && !["data", "text"].contains(level));
    levels.collect::<Vec<_>>().join(":")
}

#[test]
fn levels_have_the_names_that_tshark_gives_them() {
    let mut wrong = Vec::new();
    for line in LEVELS.lines() {
        let row: Vec<_> = line.split('\t').collect();
        let data = bytes(row[2]);
        let packet = decode(LinkType(row[1].parse().unwrap()), &data, data.len() as u32);
        let expected = row.get(4).unwrap_or(&row[3]);
        assert!(row.len() == 4 || row.len() == 6 && !row[5].is_empty(), "{line}");
        if below_applications(&packet.path.to_string()) != below_applications(expected) {
            wrong.push(format!("{}: {} instead of {expected}", row[0], packet.path));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(LEVELS.lines().count() > 300);
}

/// Frames and bytes of every path of a protocol tree.
type Tree = BTreeMap<String, (u64, u64)>;

/// What tshark says with IP reassembly off, which we do not do; `None` without tshark.
fn tshark_tree(capture: &FilePath) -> Option<Tree> {
    let off = ["-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"];
    let output = Command::new("tshark")
        .args(off)
        .args(["-n", "-q", "-z", "io,phs", "-r"])
        .arg(capture)
        .output()
        .ok()?;
    let (mut tree, mut path) = (Tree::new(), Vec::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((name, rest)) = line.split_once(" frames:") else { continue };
        let (frames, bytes) = rest.split_once(" bytes:").unwrap();
        path.truncate((name.len() - name.trim_start().len()) / 2);
        path.push(name.trim().to_owned());
        tree.insert(path.join(":"), (frames.trim().parse().unwrap(), bytes.trim().parse().unwrap()));
    }
    Some(tree)
}

fn recorded_tree(truth: &Value) -> Tree {
    let row = |row: &Value| {
        (row[0].as_str().unwrap().to_owned(), (row[1].as_u64().unwrap(), row[2].as_u64().unwrap()))
    };
    truth["tshark_phs"].as_array().unwrap().iter().map(row).collect()
}

fn our_tree(capture: &FilePath) -> Tree {
    let mut tree = Tree::new();
    each(capture, |link, frame| {
        let path = decode(link, frame.data, frame.wire_len).path;
        for depth in 1..=path.depth() {
            let (frames, bytes) = tree.entry(path.prefix(depth).to_string()).or_default();
            (*frames, *bytes) = (*frames + 1, *bytes + u64::from(frame.wire_len));
        }
    });
    tree
}

#[test]
fn every_capture_has_tsharks_protocol_tree_below_applications() {
    let Some(corpora) = corpora() else { return };
    // Every name that decoding can give, but those that applications share.
    let mut known = BTreeSet::new();
    for line in LEVELS.lines() {
        let row: Vec<_> = line.split('\t').collect();
        let data = bytes(row[2]);
        let packet = decode(LinkType(row[1].parse().unwrap()), &data, data.len() as u32);
        known.extend(packet.path.levels().map(Level::name));
    }
    for name in ["data", "isakmp"] {
        known.remove(name);
    }
    let mut compared = 0;
    for path in captures(&corpora) {
        let truth = truth_of(&path);
        let name = name(&path);
        // 802.11 is not decoded; see `unknown_link_types_are_never_guessed`.
        if name == "link-80211-radiotap.pcap" {
            continue;
        }
        let below = |tree: Tree| -> Tree {
            tree.into_iter().filter(|(path, _)| path.split(':').all(|level| known.contains(level))).collect()
        };
        let ours = below(our_tree(&path));
        // Reassembled, a packet's levels count where its last fragment came.
        let fragments = truth["counters"]["fragment_packets"].as_u64().unwrap_or(0);
        let theirs = if fragments == 0 { Some(recorded_tree(&truth)) } else { tshark_tree(&path) };
        let Some(theirs) = theirs else { continue };
        assert_eq!(ours, below(theirs), "{name}");
        compared += 1;
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn unknown_link_types_are_never_guessed() {
    let Some(corpora) = corpora() else { return };
    let mut frames = 0;
    each(&corpora.join("link-80211-radiotap.pcap"), |link, frame| {
        let packet = decode(link, frame.data, frame.wire_len);
        assert_eq!(packet.path.to_string(), "unknown");
        assert!(matches!(packet.net, Net::None) && packet.macs.is_none() && packet.flaws.has(Flaws::UNKNOWN));
        frames += 1;
    });
    assert_eq!(frames, 2);
}
