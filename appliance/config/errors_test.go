package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Pieces to build files from; each is one section.
const (
	okPool   = "[[pool]]\nname = 'tank'\ndisks = ['A', 'B']\nlayout = 'mirror'\n" // 4 lines
	okVolume = "[[volume]]\nname = 'vm1'\npool = 'tank'\nsize = '1GiB'\n"         // 4 lines
	okTarget = "[[target]]\nname = 'vm1'\nvolumes = ['vm1']\ninitiators = ['iqn.1998-01.com.vmware:esx1']\n"
)

func TestParseErrors(t *testing.T) {
	iface := func(lines string) string { return "[[interface]]\n" + lines + "\n" }
	pool := func(lines string) string { return "[[pool]]\nname='a'\nlayout='single'\n" + lines + "\n" }
	mirror := func(disks string) string { return "[[pool]]\nname='a'\nlayout='mirror'\ndisks=" + disks + "\n" }
	volume := func(lines string) string { return okPool + "[[volume]]\nname='v'\npool='tank'\n" + lines + "\n" }
	target := func(lines string) string {
		return okPool + okVolume + "[[target]]\nname='t'\nvolumes=['vm1']\n" + lines + "\n"
	}
	tests := []struct {
		name, text string
		want       []string // "line: key: the start of the message"
	}{
		// The file as a whole.
		{"too large", strings.Repeat("#\n", MaxFile), []string{"0: : the file has 2097152 bytes"}},
		{"UTF-16", "\xff\xfeh\x00", []string{"1: : the file is UTF-16; save it as UTF-8"}},
		{"not UTF-8", "# a\n# b\xe9\n", []string{"2: : this line has bytes that are not UTF-8"}},
		{"NUL", "# a\n\n\x00\n", []string{"3: : this line has a NUL byte"}},
		{"nested too deep", "a = 1\nx = " + strings.Repeat("[", 100000), []string{"2: : brackets or dots are nested too deep"}},
		{"dotted too deep", strings.Repeat("a.", 100000) + "a = 1", []string{"1: : brackets or dots are nested too deep"}},

		// Syntax: one error only.
		{"typographic quotes", "\nhostname = “attic”\n", []string{"2: : this line has typographic quotes"}},
		{"no quotes", "hostname = attic\n", []string{"1: : there is no valid value"}},
		{"number with a unit", "[[volume]]\nsize = 64GiB\n", []string{"2: : there is more behind the value; put text and sizes"}},
		{"unclosed quote", "hostname = \"attic\n\n", []string{"1: : a closing quote or bracket is missing"}},
		{"unclosed list", "[[pool]]\ndisks = ['a', 'b'\nlayout = 'single'\n", []string{"3: : a comma, a closing quote"}},
		{"backslash", `hostname = "a\q"`, []string{"1: : a backslash"}},
		{"no equals sign", "hostname\n", []string{"1: : this is not a setting"}},
		{"two on a line", "hostname = 'a' mtu = 3\n", []string{"1: : there is more behind the value; put text and sizes"}},
		{"key twice", "hostname = 'a'\nhostname = 'b'\n", []string{"2: : Key 'hostname' has already been defined; remove one"}},
		{"single and double brackets", "[pool]\n[[pool]]\n", []string{"2: : Key 'pool' was already created"}},

		// Structure.
		{"unknown keys", "ntp = 1\nhostnam = 'a'\n" + iface("mtuu = 3\n[interface.match]\nMAC = 'x'"),
			[]string{"1: ntp: unknown key; remove it (the file takes adopt, hostname, interface, pool, target, trash, version, volume)",
				"2: hostnam: unknown key; did you mean hostname?", "4: interface.mtuu: unknown key; did you mean mtu?",
				"6: interface.match.MAC: unknown key; did you mean mac?"}},
		{"unknown section", "\n[[pols]]\nname='x'\n", []string{"2: pols: unknown key; did you mean pool?"}},
		{"odd key", "\n\"a.b c\" = 1\n", []string{`2: "a.b c": unknown key`}},
		{"single brackets", "\n[pool]\nname='a'\n", []string{"2: pool: is a section in single brackets; write [[pool]]"}},
		{"section is a value", "volume = 'vm1'\ntarget = ['x']\n",
			[]string{"1: volume: is text, but must be a section", "2: target: is text, but must be a section"}},
		{"wrong types", "hostname = 3\n" + iface("match = 'eth0'\naddresses = 'dhcp'\nmtu = '9000'\ngateway = 1.5"),
			[]string{"1: hostname: is a number, but must be text", "3: interface.match: is text, but must be a table",
				"4: interface.addresses: is text, but must be a list", "5: interface.mtu: is text, but must be a whole number",
				"6: interface.gateway: is a number with a fraction, but must be text"}},
		{"wrong types in a list", pool("disks = [\n  'A',\n  7,\n  '',\n  true, 1979-05-27]"),
			[]string{"6: pool.disks: element 2 is a number", "7: pool.disks: element 3 is empty",
				"8: pool.disks: element 4 is true or false", "8: pool.disks: element 5 is a date"}},

		// Host name.
		{"empty host name", "hostname = ''", []string{`1: hostname: "" is empty`}},
		{"long host name", "hostname = '" + strings.Repeat("a.", 40) + "b'", []string{`1: hostname: "a.`}},
		{"host name with underscore", "hostname = 'my_san'", []string{`1: hostname: "my_san" has a character`}},
		{"host name with hyphen at the end", "hostname = 'a-.b'", []string{`1: hostname: "a-.b" has a part that starts or ends`}},
		{"host name with two dots", "hostname = 'a..b'", []string{`1: hostname: "a..b" has an empty part`}},

		// Interfaces.
		{"bad MACs", iface("match={mac='52:54:00:12:34'}") + iface("match={mac='01:00:5e:00:00:01'}") + iface("match={mac='00:00:00:00:00:00'}"),
			[]string{"2: interface.match.mac: \"52:54:00:12:34\" is not the address", "4: interface.match.mac: ", "6: interface.match.mac: "}},
		{"bad name and driver", iface("match={name='a/b', driver='a b'}"),
			[]string{`2: interface.match.driver: "a b" is not a driver`, `2: interface.match.name: "a/b" is not an interface`}},
		{"same match", iface("match={mac='52:54:00:12:34:56'}") + iface("match={mac='52-54-00-12-34-56'}"),
			[]string{"4: interface.match: is the same as that of the interface of line 2"}},
		{"two without match", iface("") + iface("match={}"), []string{"4: interface.match: is empty or missing, as in the interface of line 1"}},
		{"no addresses", iface("addresses=[]"), []string{"2: interface.addresses: is empty"}},
		{"bad addresses", iface("addresses=[\n'10.0.0.10',\n'10.0.0.0/24',\n'10.0.0.255/24',\n'0.0.0.0/0',\n'224.0.0.1/4',\n'127.0.0.1/8',\n'::ffff:10.0.0.1/120',\n'fe80::1',\n'hello',\n'10.0.0.1/33',\n'dhcp','DHCP']"),
			[]string{`3: interface.addresses: "10.0.0.10" has no prefix length; write the length of your network's mask behind it, as in 10.0.0.10/24`,
				`4: interface.addresses: "10.0.0.0/24" is the address of the network itself; choose one of its hosts, as in 10.0.0.1/24`,
				`5: interface.addresses: "10.0.0.255/24" is the broadcast address`, `6: interface.addresses: "0.0.0.0/0" is not an address that`,
				"7: ", "8: ", `9: interface.addresses: "::ffff:10.0.0.1/120" is an IPv4 address in IPv6 form`, "10: ", `11: interface.addresses: "hello" is not an address`, "12: ",
				`13: interface.addresses: "dhcp" is in the list twice`}},
		{"address twice", iface("addresses=['10.0.0.1/24']") + iface("match={name='b'}\naddresses=['10.0.0.1/16']"),
			[]string{"5: interface.addresses: 10.0.0.1 is already in use by line 2"}},
		{"gateway elsewhere", iface("addresses=['10.0.0.2/24']\ngateway='10.0.1.1'"), []string{"3: interface.gateway: 10.0.1.1 is in none"}},
		{"gateway is itself", iface("addresses=['10.0.0.2/24']\ngateway='10.0.0.2'"), []string{"3: interface.gateway: 10.0.0.2 is this machine's own"}},
		{"gateway with prefix", iface("addresses=['10.0.0.2/24']\ngateway='10.0.0.1/24'"), []string{`3: interface.gateway: "10.0.0.1/24" is not the address of a router`}},
		{"gateway with DHCP", iface("gateway='10.0.0.1'"), []string{"2: interface.gateway: does not go with DHCP"}},
		{"MTU", iface("mtu=500") + iface("match={name='b'}\nmtu=9217"), []string{"2: interface.mtu: 500 is out of range", "5: interface.mtu: 9217 is out of range"}},

		// Pools.
		{"empty pool", "\n[[pool]]\n", []string{"2: pool: disks is missing", "2: pool: layout is missing", "2: pool: name is missing"}},
		{"no disks", pool("disks=[]"), []string{"4: pool.disks: is empty"}},
		{"pool twice", pool("disks=['A']") + pool("disks=['B']"), []string{`6: pool.name: "a" is already the name of the pool of line 2`}},
		{"bad layout", "[[pool]]\nname='a'\ndisks=['A']\nlayout='raid7'\n", []string{`4: pool.layout: "raid7" is not a layout`}},
		{"raid5 of two", "[[pool]]\nname='a'\ndisks=['A','B']\nlayout='raid5'\n", []string{"4: pool.layout: raid5 needs three or more disks, and there are 2"}},
		{"raid6 of four", "[[pool]]\nname='a'\ndisks=['A','B','C','D']\nlayout='raid6'\n", []string{"4: pool.layout: raid6 needs five or more disks, and there are 4"}},
		{"raid10 of five", "[[pool]]\nname='a'\ndisks=['A','B','C','D','E']\nlayout='raid10'\n", []string{"4: pool.layout: raid10 needs four or more and an even number of disks, and there are 5"}},
		{"spare is a member", mirror("['A','B']\nspares=['B']"), []string{`5: pool.spares: "B" is already in pool "a"`}},
		{"any spare", mirror("['A','B']\nspares=['*']"), []string{"5: pool.spares: a spare has a serial number"}},
		{"spare of one copy", pool("disks=['A']\nspares=['B']"), []string{`5: pool.spares: are of no use to layout = "single"`}},
		{"times", mirror("['A','B']\nspare_after='soon'\nscrub={every='1s'}"), []string{`5: pool.spare_after: "soon" is not a time`, `6: pool.scrub.every: "1s" is too short; at least 1h`}},
		{"mirror of one", mirror("['A']"), []string{"3: pool.layout: a mirror needs two disks or more, and there is one"}},
		{"disk twice", mirror("['wwn-0x5000c500a1b2c3d4',\n'wwn-0x5000C500A1B2C3D4']"), []string{`5: pool.disks: "wwn-0x5000c500a1b2c3d4" is in the list twice`}},
		{"disk in two pools", okPool + pool("disks=['B']"), []string{`8: pool.disks: "B" is already in pool "tank"`}},
		{"every disk in two pools", pool("disks=['*']") + "[[pool]]\nname='b'\nlayout='single'\ndisks=['*']\n", []string{`8: pool.disks: "*" is already in pool "a"`}},
		{"every disk and one", pool("disks=['*', 'A']"), []string{`4: pool.disks: "*" is every blank disk and must be alone`}},
		{"device names", pool("disks=['/dev/sda',\n'sdb',\n'nvme0n1p2',\n' A',\n'wwn-5000c500a1b2c3d4',\n'\u00e9']"),
			[]string{`4: pool.disks: "/dev/sda" is a device name`, `5: pool.disks: "sdb" is a device name`, `6: pool.disks: "nvme0n1p2" is`,
				`7: pool.disks: " A" has blanks`, `8: pool.disks: "wwn-5000c500a1b2c3d4" is not a WWN`, `9: pool.disks: "é" has a character`}},

		// Names.
		{"bad names", "[[pool]]\nname='Tank'\ndisks=['A']\nlayout='single'\n[[pool]]\nname='sda'\ndisks=['B']\nlayout='single'\n[[pool]]\nname='mapper'\ndisks=['C']\nlayout='single'\n[[pool]]\nname='-a'\ndisks=['D']\nlayout='single'\n",
			[]string{`2: pool.name: "Tank" has "T" in it`, `6: pool.name: "sda" is the name of something in /dev`, `10: pool.name: "mapper" is`, `14: pool.name: "-a" must start`}},
		{"reserved volume name", okPool + "[[volume]]\nname='snapshot1'\npool='tank'\nsize='1GiB'\n", []string{`6: volume.name: "snapshot1" is a name that LVM`}},

		// Volumes.
		{"empty volume", "[[volume]]\n", []string{"1: volume: name is missing", "1: volume: pool is missing", "1: volume: size is missing"}},
		{"volume twice", okPool + okVolume + okVolume, []string{`10: volume.name: "vm1" is already the name of the volume of line 6`}},
		{"no such pool", okPool + "[[volume]]\nname='v'\npool='tenk'\nsize='1GiB'\n", []string{`7: volume.pool: there is no pool "tenk"; did you mean "tank"?`}},
		{"no such pool at all", "[[volume]]\nname='v'\npool='p'\nsize='1GiB'\n", []string{`3: volume.pool: there is no pool "p"; add a [[pool]]`}},
		{"size is a number", volume("size = 64"), []string{"8: volume.size: is a number without a unit"}},
		{"size is a list", volume("size = []"), []string{"8: volume.size: is a list, but must be text"}},
		{"size without unit", volume("size = '64'"), []string{`8: volume.size: "64" has no unit; write "64GiB"`}},
		{"size with half a unit", volume("size = '64g'"), []string{`8: volume.size: "64g" has an ambiguous unit; write "64GiB"`}},
		{"size too small", volume("size = '4095KiB'"), []string{`8: volume.size: "4095KiB" is too small`}},
		{"priority too high", volume("size = '1GiB'\npriority = 10"), []string{"9: volume.priority: 10 must be from 0 (its writes are refused first) to 9"}},
		{"priority is text", volume("size = '1GiB'\npriority = 'high'"), []string{"9: volume.priority: is text, but must be a whole number"}},
		{"size too large", volume("size = '9000000TiB'"), []string{`8: volume.size: "9000000TiB" is larger than any disk`}},

		{"clone of a bad name", volume("from = 'Gold@x'"), []string{`8: volume.from: "Gold@x" has "G" in it`}},
		{"clone of a bad snapshot", volume("from = 'gold@'"), []string{`8: volume.from: "gold@" has nothing behind the @`}},
		{"clone of a clone of itself", volume("from = 'vm2'") + "[[volume]]\nname='vm2'\npool='tank'\nfrom='v'\n",
			[]string{`8: volume.from: "vm2" is, in the end, a clone of "v"`, `12: volume.from: "v" is, in the end, a clone of "vm2"`}},
		{"clone of itself", volume("from = 'v'"), []string{`8: volume.from: "v" is, in the end, a clone of "v"`}},
		{"clone from another pool", okPool + okVolume + "[[pool]]\nname='b'\ndisks=['X']\nlayout='single'\n[[volume]]\nname='v'\npool='b'\nfrom='vm1@x'\n",
			[]string{`16: volume.from: volume "vm1" is in pool "tank"`}},
		{"thick clone", volume("from = 'x'\nthick = true"), []string{"9: volume.thick: a clone shares"}},
		{"thick with a schedule", volume("size = '1GiB'\nthick = true\nsnapshot = {every='1h', keep=1}"), []string{"10: volume.snapshot: thick volumes have no snapshots"}},
		{"thick is text", volume("size = '1GiB'\nthick = 'yes'"), []string{"9: volume.thick: is text, but must be true or false"}},
		{"odd block", volume("size = '1GiB'\nblock = 1024"), []string{"9: volume.block: 1024 is not a size"}},
		{"half a schedule", volume("size = '1GiB'\nsnapshot = {}"), []string{"9: volume.snapshot: every is missing", "9: volume.snapshot: keep is missing"}},
		{"bad schedule", volume("size = '1GiB'\nsnapshot = {every='1s', keep=0}"), []string{"9: volume.snapshot.every: \"1s\" is too short", "9: volume.snapshot.keep: 0 must be from 1"}},
		{"schedule without a unit", volume("size = '1GiB'\nsnapshot = {every='60', keep=1}"), []string{"9: volume.snapshot.every: \"60\" is not a time"}},
		{"bad adopt", "adopt = 'maybe'\n", []string{`1: adopt: "maybe" must be "ask" or "auto"`}},
		{"bad trash", "trash = '30s'\n", []string{"1: trash: \"30s\" is too short"}},

		// Targets.
		{"snapshot of no volume", okPool + okVolume + "[[target]]\nname='t'\nvolumes=['vm2@x']\n", []string{`11: target.volumes: there is no volume "vm2"`}},
		{"bad snapshot", okPool + okVolume + "[[target]]\nname='t'\nvolumes=['vm1@a@b']\n", []string{`11: target.volumes: "vm1@a@b" has "@" in it`}},
		{"empty target", "[[target]]\n", []string{"1: target: name is missing", "1: target: volumes is missing"}},
		{"target twice", okPool + okVolume + okTarget + okTarget, []string{`14: target.name: "vm1" is already the name of the target of line 10`}},
		{"no such volume", okPool + okVolume + "[[target]]\nname='t'\nvolumes=['vm1',\n'vm2', 'golden']\n",
			[]string{`12: target.volumes: there is no volume "golden"; add a [[volume]]`, `12: target.volumes: there is no volume "vm2"; did you mean "vm1"?`}},
		{"volume twice in a target", okPool + okVolume + "[[target]]\nname='t'\nvolumes=['vm1','vm1']\n", []string{`11: target.volumes: "vm1" is in the list twice`}},
		{"no volumes", "[[target]]\nname='t'\nvolumes=[]\n", []string{"3: target.volumes: is empty"}},
		{"IQN", target("iqn='iqn.2006.com.example'"), []string{`12: target.iqn: "iqn.2006.com.example" must have a year`}},
		{"IQN in upper case", target("iqn='iqn.2006-12.com.Example'"), []string{`12: target.iqn: "iqn.2006-12.com.Example" has upper-case letters`}},
		{"IQN twice", target("iqn='iqn.2006-12.local.sanstick:vm1'") + okTarget,
			[]string{`14: target.name: the iSCSI name "iqn.2006-12.local.sanstick:vm1" is already that of the target of line 12`}},
		{"initiators", target("initiators=['*', 'esx1',\n'iqn.1998-01.com.vmware:ESX_1', 'iqn.1998-01.com.vmware:ESX_1']"),
			[]string{`12: target.initiators: "*" is anyone and must be alone`, `12: target.initiators: "esx1" is not an iSCSI name`, "13: target.initiators: \"iqn.1998-01.com.vmware:ESX_1\" is in the list twice"}},
		{"CHAP without secret", target("chap={user='u'}"), []string{"12: target.chap: secret is missing"}},
		{"CHAP is text", target("chap='user:hunter2hunter2'"), []string{"12: target.chap: is text, but must be a table"}},
		{"short secret", target("chap={user='u',secret='hunter2'}"), []string{"12: target.chap.secret: has 7 bytes, but must have at least 12"}},
		{"long secret", target("chap={user='u',secret='" + strings.Repeat("x", 256) + "'}"), []string{"12: target.chap.secret: has 256 bytes, but may have at most 255"}},
		{"odd user and secret", target("chap={user='',secret='hunter2hunteré'}"),
			[]string{"12: target.chap.secret: must have printable", "12: target.chap.user: must have 1 to 255"}},
		{"secret is a number", target("chap={user='u',secret=123456789012}"), []string{"12: target.chap.secret: is a number, but must be text"}},
		{"limit is a number", target("limit=5"), []string{"12: target.limit: is a number, but must be a table"}},
		{"unknown limit", target("limit={ops=50}"), []string{"12: target.limit.ops: unknown key; did you mean iops?"}},
		{"limits out of bounds", target("limit={iops=9,mbps=-1}"), []string{"12: target.limit.iops: 9 must be from 10", "12: target.limit.mbps: -1 must be from 1"}},
		{"limit is text", target("limit={mbps='5'}"), []string{"12: target.limit.mbps: is text, but must be a whole number"}},

		{"all at once", "hostname=1\n[[pool]]\nname='a'\n[[volume]]\nname='v'\npool='b'\nsize='1'\n",
			[]string{"1: hostname: is a number", "2: pool: disks is missing", "2: pool: layout is missing",
				`6: volume.pool: there is no pool "b"`, "7: volume.size: \"1\" has no unit"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Parse("a.toml", []byte(tt.text))
			errs, ok := err.(Errors)
			if !ok || c != nil {
				t.Fatalf("got config %v and error %v", c, err)
			}
			var got []string
			for i, e := range errs {
				s := strings.TrimPrefix(e.Error(), "a.toml")
				if e.File != "a.toml" || s == e.Error() {
					t.Errorf("error does not name its file: %v", e)
				}
				s = lineKeyMsg(e)
				if i < len(tt.want) && strings.HasPrefix(s, tt.want[i]) {
					s = tt.want[i]
				}
				got = append(got, s)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the errors show a secret:\n%v", err)
			}
		})
	}
}

func lineKeyMsg(e *Error) string { return fmt.Sprintf("%d: %s: %s", e.Line, e.Key, e.Msg) }
