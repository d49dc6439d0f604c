//! Layers and Community IDs of captures that nobody here wrote, against tshark and pycommunityid. They lie where
//! `TAPKEEP_CORPORA` points, else in a folder beside the checkout. Without them these tests say that they skip.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::fs;
use std::path::Path as FilePath;

use serde_json::Value;
use support::corpora::corpora;
use tapkeep::packet::community_id::{CommunityId, Tuple};

fn json(path: &FilePath) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_reference_vector_gives_its_community_id() {
    let Some(corpora) = corpora() else { return };
    let vectors = json(&corpora.join("community-id/baseline_deflt.json"));
    let vectors = vectors.as_array().unwrap();
    assert_eq!(vectors.len(), 23);
    for vector in vectors {
        let addr = |key: &str| vector[key].as_str().unwrap().parse::<std::net::IpAddr>().unwrap().into();
        let port = |key: &str| vector[key].as_u64().map(|port| port as u16);
        let tuple = Tuple {
            src: addr("saddr"),
            dst: addr("daddr"),
            proto: vector["proto"].as_u64().unwrap() as u8,
            ports: port("sport").zip(port("dport")),
        };
        let text = vector["communityid"].as_str().unwrap();
        assert_eq!(tuple.id().to_string(), text, "{vector}");
        assert_eq!(text.parse::<CommunityId>(), Ok(tuple.id()));
    }
}
