package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/api"
	"sanstick/appliance/status"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// healthy is an appliance with all that there can be.
func healthy() status.Snapshot {
	return status.Snapshot{
		Time: now, Hostname: "attic", Version: "0.1.0", Started: now.Add(-192 * time.Minute), Health: status.OK,
		Config: status.Config{Path: "/stick/appliance.toml", InForce: "file", Warnings: []string{`target "demo" lets anyone in`}},
		Memory: status.Memory{Total: 512 << 20, Available: 412 << 20},
		Interfaces: []status.Interface{
			{Name: "eth0", MAC: "52:54:00:12:34:56", Driver: "virtio_net", Up: true, Carrier: true, MTU: 1500, Addresses: []string{"10.0.2.15/24"}, Source: "dhcp"},
			{Name: "enp3s0", MAC: "52:54:00:12:34:57", Driver: "e1000e", Up: true, MTU: 9000, Source: "static"},
			{Name: "eth2", MAC: "52:54:00:12:34:58", MTU: 1500},
		},
		Disks: []status.Disk{
			{Name: "sda", Serial: "WD-A", WWN: "0x5000c500a1b2c3d4", Model: "WDC WD40", Size: 4 << 40, Rotational: true, Transport: "sata", Use: "pool tank"},
			{Name: "sdb", Serial: "WD-B", Size: 4 << 40, Transport: "sata", Use: "pool tank"},
			{Name: "sdc", Serial: "STICK1", Model: "Flash", Size: 8 << 30, Transport: "usb", Use: "boot stick"},
			{Name: "nvme0n1", Size: 1 << 40, Use: "an ext4 file system"},
		},
		Pools: []status.Pool{{
			Name: "tank", Layout: "mirror", Health: status.OK, Disks: []string{"WD-A", "WD-B"}, Sync: 100,
			Size: 39 << 37, Used: 12 << 30, Free: 39<<37 - 12<<30, Promised: 65 << 30,
			Volumes: []status.Volume{
				{Name: "demo", Size: 1 << 30, Used: 12 << 20, Active: true},
				{Name: "oldvm", Size: 64 << 30, Used: 11 << 30, Unreferenced: true},
			},
		}},
		Targets: []status.Target{
			{Name: "demo", IQN: "iqn.2006-12.local.attic:demo", Portals: []string{"10.0.2.15:3260"}, Serving: true, Initiators: []string{"*"},
				LUNs: []status.LUN{{Number: 0, Volume: "demo", NAA: "naa.6001405aabbccdd00112233445566778", Size: 1 << 30}},
				Sessions: []status.Session{
					{Initiator: "iqn.1993-08.org.debian:01:abc", Address: "10.0.2.2:40000", Since: now.Add(-5 * time.Minute)}}},
			{Name: "vm1", IQN: "iqn.2006-12.local.attic:vm1", Serving: true, Initiators: []string{"iqn.1998-01.com.vmware:esx1"}, CHAP: true},
		},
	}
}

// degraded is an appliance with all that can be wrong.
func degraded() status.Snapshot {
	s := healthy()
	s.Health = status.Failed
	s.Problems = []status.Problem{
		{Health: status.Failed, What: "appliance.toml:12: pool.layout: \"raid9\" is not a layout", Do: "correct line 12"},
		{Health: status.Degraded, What: "pool tank: disk WD-B is missing", Do: "check its cable, or replace it"},
		{Health: status.Degraded, What: "bad \x1b[2Jtext\nfrom a disk"},
		{Health: status.OK, What: "device 0000:05:00.0 (r8169) wants firmware", Do: "nothing, if it works"},
	}
	s.Config = status.Config{Path: "/stick/appliance.toml", InForce: "last-good", Errors: []string{"appliance.toml:12: pool.layout: \"raid9\" is not a layout"}}
	s.Pools[0].Health, s.Pools[0].Detail = status.Degraded, "one of two copies is left"
	s.Pools[0].Disks, s.Pools[0].Missing, s.Pools[0].Sync = []string{"WD-A"}, []string{"WD-B"}, 99.999
	s.Interfaces[0].Error, s.Interfaces[0].Addresses = "no answer from a DHCP server; trying on", nil
	s.Targets[0].Serving, s.Targets[0].Error = false, "pool tank is not here"
	s.Targets[1].Serving, s.Targets[1].Initiators = false, nil
	return s
}

func TestRender(t *testing.T) {
	for name, s := range map[string]status.Snapshot{"healthy": healthy(), "degraded": degraded(), "empty": {}} {
		t.Run(name, func(t *testing.T) { golden(t, name, render(s)) })
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("text (-want +got; go test -update writes it anew):\n%s", diff)
	}
}

func TestRun(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	ctx, cancel := context.WithCancel(t.Context())
	srv := api.New(api.Options{Socket: socket, Status: func(context.Context) (status.Snapshot, error) { return healthy(), nil }})
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	<-srv.Ready()

	for _, tt := range []struct {
		args           []string
		code           int
		stdout, stderr string // how they start
	}{
		{nil, 2, "", "sanctl tells what"},
		{[]string{"help"}, 0, "sanctl tells what", ""},
		{[]string{"--help"}, 0, "sanctl tells what", ""},
		{[]string{"status", "--help"}, 0, "NAME\n    sanctl status - ", ""},
		{[]string{"help", "status"}, 0, "NAME\n    sanctl status - ", ""},
		{[]string{"volume", "--help"}, 0, "sanctl volume has these verbs:\n", ""},
		{[]string{"volume"}, 2, "", "sanctl: volume needs a second word:\n  volume snapshot"},
		{[]string{"volume", "snpashot", "vm1"}, 2, "", "sanctl: there is no \"volume snpashot\"; `sanctl help volume`"},
		{[]string{"help", "statsu"}, 2, "", "sanctl: there is no \"statsu\"; `sanctl help`"},
		{[]string{"statsu", "--help"}, 2, "", "sanctl: there is no \"statsu\"; `sanctl help`"},
		{[]string{"help", "volume", "verify"}, 0, "NAME\n    sanctl volume verify - ", ""},
		{[]string{"statsu"}, 2, "", "sanctl: there is no \"statsu\"; `sanctl help`"},
		{[]string{"status", "--jsn"}, 2, "", "sanctl status: flag provided but not defined: -jsn; `sanctl help status`"},
		{[]string{"status", "now"}, 2, "", "sanctl status: \"now\" is too much; `sanctl help status`"},
		{[]string{"status", "--socket", socket}, 0, "attic: sanstick 0.1.0, up 3 h 12 min\nHealth: ok\n", ""},
		{[]string{"status", "--json", "--socket=" + socket}, 0, "{\n  \"time\"", ""},
		{[]string{"status", "--socket", socket + "x"}, 1, "", "sanctl status: the appliance daemon is not running: nothing answers at " + socket + "x; "},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), tt.args, strings.NewReader(""), &stdout, &stderr)
		if code != tt.code || !strings.HasPrefix(stdout.String(), tt.stdout) || !strings.HasPrefix(stderr.String(), tt.stderr) ||
			(tt.stdout == "") != (stdout.Len() == 0) || (tt.stderr == "") != (stderr.Len() == 0) {
			t.Errorf("sanctl %q: code %d\nstdout: %.200s\nstderr: %.200s", tt.args, code, &stdout, &stderr)
		}
	}

	var stdout bytes.Buffer
	run(t.Context(), []string{"status", "--json", "--socket", socket}, strings.NewReader(""), &stdout, &stdout)
	var got status.Snapshot
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(healthy(), got); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}
