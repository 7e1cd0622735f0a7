package config

import (
	"strings"
	"testing"
)

func TestCheckNames(t *testing.T) {
	tests := []struct {
		check func(string) error
		what  string
		ok    string // separated by blanks
		bad   string
	}{
		{checkName, "name", "a vm1 a.b-c 0 a--b " + strings.Repeat("a", 48), "A a_b -a a- .a a. a..b ä a/b a:b * " + strings.Repeat("a", 49) + " a" + strings.Repeat("-", 24) + "a"},
		{checkPoolName, "pool name", "tank data sdata stone md nvmepool vault loop zfs",
			"mapper disk null shm sda sdaa1 vda hdb xvdc nvme0 nvme0n1 md0 md127 loop0 dm-0 ram0 sr0 tty0 console"},
		{checkVolumeName, "volume name", "vm1 pvm snap thin", "snapshot snapshot1 pvmove0 thinpool thinmeta a_tdata"},
		{checkHostname, "host name", "a attic Attic.example.com 1-2 " + strings.Repeat("a", 63), "a_b a. .a -a a- ä a/b " + strings.Repeat("a", 64) + " " + strings.Repeat("a.", 32) + "b"},
		{func(s string) error { return checkISCSIName(s, true) }, "iSCSI name",
			"iqn.2006-12.com.example iqn.2006-12.com.example:a:b-c.d iqn.1991-05.com.microsoft: eui.02004567a425678d naa.52004567ba64678d naa.62004567ba64678d0123456789abcdef",
			"iqn. iqn.2006-12 iqn.2006-13.com iqn.2006-00.com iqn.06-12.com iqn.2006-12. iqn.2006-12..com iqn.2006-12.-a iqn.2006-12.:x iqn.2006-12.com:A iqn.2006-12.com:a_b " +
				"iqn.2006-12.com:a,b iqn.2006-12.com:ä eui.0200 eui.02004567a425678g naa.52 disk IQN.2006-12.com iqn.2006-12.com:" + strings.Repeat("a", 210)},
		{func(s string) error { return checkISCSIName(s, false) }, "initiator name", "iqn.1998-01.com.vmware:ESX_1 IQN.2006-12.com:a", "* esx1 iqn.1998-01.com.vmware:a,b"},
	}
	for _, tt := range tests {
		for s := range strings.FieldsSeq(tt.ok) {
			if err := tt.check(s); err != nil {
				t.Errorf("%s %q: %v", tt.what, s, err)
			}
		}
		for _, s := range append(strings.Fields(tt.bad), "") {
			if tt.check(s) == nil {
				t.Errorf("%s %q is accepted", tt.what, s)
			}
		}
	}
}

func TestDefaultIQN(t *testing.T) {
	for host, want := range map[string]string{
		"attic":             "iqn.2006-12.local.attic:vm1",
		"Attic.Example.com": "iqn.2006-12.com.example.attic:vm1",
	} {
		got := defaultIQN(host, "vm1")
		if got != want {
			t.Errorf("IQN of %s is %s, want %s", host, got, want)
		}
		if err := checkISCSIName(got, true); err != nil {
			t.Errorf("%s %v", got, err)
		}
	}
}
