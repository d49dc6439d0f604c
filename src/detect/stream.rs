//! The analyst without a disk: frames in, flow records and findings out. The same for a live port, a replay and a file.
