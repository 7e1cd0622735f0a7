package main

import (
	"strings"
	"testing"
	"time"
)

func TestParseFlags(t *testing.T) {
	for _, args := range [][]string{{"--rounds", "0"}, {"--seconds", "0"}, {"--case", "("}, {"more"}, {"--what"}} {
		if _, err := parseFlags(args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	o, err := parseFlags([]string{"--case", "QD 1$", "--rounds", "3"})
	if err != nil || o.rounds != 3 || !o.cases.MatchString("read, QD 1") || o.cases.MatchString("QD 16") {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestRow(t *testing.T) {
	r := result{benchCase: benchCase{name: "a case", least: 2, aim: 3}}
	for i := range 3 {
		r.ours = append(r.ours, sample{outcome: outcome{iops: float64(30000 + i*10000), size: 4096}, cpu: 5 * time.Second})
		r.tgt = append(r.tgt, sample{outcome: outcome{iops: 20000, size: 4096}, cpu: 10 * time.Second})
	}
	row := r.row()
	for _, want := range []string{"| a case | 40.0 k | 20.0 k | **2.00 (1.50 to 2.50)** | 2.0, aim 3.0 | 5.0, 10.0 | 0.50 | 1.31, 2.62 |"} {
		if !strings.Contains(row, want) {
			t.Errorf("row %q lacks %q", row, want)
		}
	}
}

func TestWants(t *testing.T) {
	x := result{benchCase: benchCase{name: "x", least: 2, aim: 3}, ours: []sample{{outcome: outcome{iops: 50}}}, tgt: []sample{{outcome: outcome{iops: 20}}}}
	stream := result{benchCase: benchCase{name: streamRead}, ours: []sample{{outcome: outcome{iops: 1000, size: 1000}}}, tgt: []sample{{outcome: outcome{iops: 1}}}}
	many := result{benchCase: benchCase{name: "many"}, ours: []sample{{outcome: outcome{least: 0.7, most: 1.1}}}, tgt: []sample{{}}}
	group := result{benchCase: benchCase{name: groupCommit}, ours: []sample{{outcome: outcome{iops: 1}}}, tgt: []sample{{outcome: outcome{iops: 100}}}}
	c := comparison{results: []result{x, stream, many, group}, loopback: []float64{1e6}, disk: []float64{180}, more: &extras{
		idle: [2]int{40 << 10, 8 << 10}, allocations: 0.3, slow: []float64{0.5}, limits: []limitRun{{flag: "iops=10", size: 512, want: 10, got: 10.4}},
	}}
	got := c.wantedTable()
	for _, want := range []string{
		"| x, ratio to tgt | 2.00x | 3.00x | 2.50x | met |",
		"ratio to iperf3 | - | 0.90x | 1.00x | aim reached |",
		"ratio of the disk itself (fio, no network) to tgt | - | - | 1.80x | met |",
		"| 0.80, 1.20 | - | 0.70, 1.10 | **missed** |",
		"| allocations for a 4 KiB read | at most 0.200 | 0.000 | 0.300 | **missed** |",
		"| at most 64 MiB | 32 MiB | 40 MiB | met |",
		"| limit iops=10, 512 bytes a command: rate to the limit | 0.95 to 1.05 | - | 1.040 | met |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestPerfOutput(t *testing.T) {
	m := perfAverage.FindStringSubmatch("\n\n00:00:01 - lba 4, iops current 893 (348 MB/s), iops average 85000 (332 MB/s)\niops average 84223 (328 MB/s)      \n\nfinished.\n")
	if m == nil || m[1] != "84223" {
		t.Errorf("got %q", m)
	}
}
