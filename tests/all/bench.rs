//! The benchmark as a command: that it measures what it says, every frame of it. How fast anything is does not matter here.

use std::process::Command;

use serde_json::Value as Json;

use crate::support::{binary, compiled};

fn measured(arguments: &[&str]) -> Json {
    let plugins = compiled("binance").parent().expect("a directory");
    let mut command = Command::new(binary());
    command.arg("bench").args(arguments).arg("--json").arg("--plugins").arg(plugins);
    let ended = command.output().expect("it runs");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    serde_json::from_slice(&ended.stdout).expect("JSON")
}

#[test]
fn every_frame_of_a_benchmark_is_counted() {
    let report = measured(&["--frames", "2000", "--rounds", "2", "--connections", "2", "--ids", "6"]);
    assert_eq!((&report["asked"]["connections"], &report["asked"]["ids"]), (&2.into(), &6.into()));
    let runs = report["runs"].as_array().expect("a list");
    let mut found = Vec::new();
    for run in runs {
        assert_eq!((&run["sent"], &run["received"]), (&4000.into(), &4000.into()), "{run}");
        let reads = run["reader"] != "nothing";
        assert_eq!(run["stored"], if reads { 4000 } else { 0 }, "{run}");
        assert!(run["cpu_ns_per_frame"].as_f64() > Some(0.0), "{run}");
        assert_eq!(run["cpu_ns_per_frame_by_round"].as_array().map(Vec::len), Some(2), "{run}");
        // Frames that wait for their turn tell nothing of how long one takes.
        let timed = reads && run["load"] != "full";
        let latency = ["p50", "p99", "p99_9"].map(|name| run["latency_ns"][name].as_u64());
        assert_eq!(latency.map(|nanos| nanos.is_some()), [timed; 3], "{run}");
        assert!(latency.is_sorted(), "{run}");
        // One batch in sixteen is timed, and one a wake-up are many batches.
        for stage in ["socket", "unpack and record", "codec", "store"] {
            assert!(run["load"] != "paced" || run["stages_ns_per_frame"][stage].is_f64(), "{stage}: {run}");
        }
        found.push(format!("{} {}", run["load"], run["reader"]).replace('"', ""));
    }
    let loads = ["full", "paced", "burst"];
    let expected =
        loads.iter().flat_map(|load| ["nothing", "native", "plugin"].map(|reader| format!("{load} {reader}")));
    assert_eq!(found, expected.collect::<Vec<_>>());
    let ratios = report["ratios"].as_array().expect("a list");
    assert!(ratios.len() == 5 && ratios.iter().all(|ratio| ratio["plugin_to_native"].is_f64()), "{ratios:?}");
}

#[test]
fn a_daemon_of_many_connections_loses_no_frame_and_comes_back_whole() {
    let report = measured(&["scale", "--connections", "2,4,6", "--quiet", "100ms"]);
    let steps = report["steps"].as_array().expect("a list");
    let sizes: Vec<_> = steps.iter().map(|step| (step["connections"].as_u64(), step["ids"].as_u64())).collect();
    assert_eq!(sizes, [2, 4, 6].map(|count| (Some(count), Some(count * 10))));
    for step in steps {
        assert_eq!(step["frames"], step["stored"], "{step}");
        assert!(step["reconnect_s"].as_f64() > Some(0.0), "{step}");
    }
    assert_eq!(report["growth_beyond_linear"].as_object().map(serde_json::Map::len), Some(4));
}
