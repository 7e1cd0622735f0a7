//go:build e2e

package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// inventory asks for all that a unit tells of itself. The tools decode it, and
// complain about what they can't.
func inventory(t *testing.T, r *rig) {
	const serial = "E2E"
	d := r.serve(t, "--lun", "0="+sparse(t, 64*mib)+",thin", "--lun", "1=mem:64M,bs=4096", "--iqn", iqn, "--serial", serial)
	l := login{port: d.ports[0]}
	r.login(t, l)
	for _, tt := range []struct {
		lun, command string
		want         []string // patterns, for lines
	}{
		{"0", "sg_inq DEV", []string{`PDT=0`, `SPC-4`, `CmdQue=1`, `Vendor identification: SANSTICK`, `Unit serial number: E2E-0`}},
		{"0", "sg_inq -d DEV", []string{`SPC-4`}},
		{"0", "sg_vpd DEV", []string{`Device identification`, `Block limits`, `Logical block provisioning`}},
		{"0", "sg_vpd -p 0x80 DEV", []string{`Unit serial number: E2E-0$`}},
		{"0", "sg_vpd -p 0x83 DEV", []string{`0x6[0-9a-f]{31}$`, `Relative target port: 0x1$`, `Target port group: 0x1$`, `iqn\.2006-12\.test\.sanstick:e2e,t,0x0001$`}},
		{"0", "sg_vpd -p 0x85 DEV", nil},
		{"0", "sg_vpd -p 0x86 DEV", []string{`HEADSUP=1 ORDSUP=1 SIMPSUP=1`, `V_SUP=1`, `LUICLR=1`}},
		{"0", "sg_vpd -p 0x87 DEV", []string{`Policy: shared`}},
		{"0", "sg_vpd -p 0x88 DEV", []string{`Relative port=1$`, `iqn\.2006-12\.test\.sanstick:e2e,t,0x0001$`}},
		{"0", "sg_vpd -p 0xb0 DEV", []string{`Maximum unmap LBA count: [1-9]`, `Maximum write same length: 0x[1-9a-f]`, `Optimal unmap granularity: 8 blocks`}},
		{"1", "sg_vpd -p 0xb0 DEV", []string{`Maximum unmap LBA count: 0 `}},
		{"0", "sg_vpd -p 0xb1 DEV", []string{`Non-rotating medium`}},
		{"0", "sg_vpd -p 0xb2 DEV", []string{`\(LBPU\): 1`, `\(LBPWS\): 1`, `\(LBPWS10\): 1`, `\(LBPRZ\): 1`, `thin provisioned`}},
		{"1", "sg_vpd -p 0xb2 DEV", []string{`\(LBPU\): 0`}},
		{"0", "sg_vpd -a DEV", nil},
		{"0", "sg_luns -d DEV", []string{`lun=0$`, `lun=1$`}},
		{"0", "sg_luns -s 1 DEV", []string{`c101000000000000`}},
		{"0", "sg_luns -s 2 DEV", []string{`c101000000000000`, `0001000000000000`}},
		{"0", "sg_readcap DEV", []string{`Last LBA=131071 `, `block length=512 `}},
		{"0", "sg_readcap -16 DEV", []string{`lbpme=1, lbprz=1`, `Last LBA=131071 `, `per physical block exponent=3`}},
		{"1", "sg_readcap -16 DEV", []string{`lbpme=0, lbprz=0`, `Last LBA=16383 `, `block length=4096 `, `exponent=0`}},
		{"0", "sg_opcodes DEV", []string{`Read\(16\)`, `Write\(16\)`, `Unmap`, `Report supported operation codes`}},
		{"0", "sg_opcodes -R DEV", []string{`Synchronize cache\(10\)`}},
		{"0", "sg_opcodes -o 0x28 DEV", []string{`Opcode=0x28`, `supported.*conforming`}},
		{"0", "sg_opcodes -o 0xea DEV", []string{`NOT supported`}},
		{"0", "sg_opcodes -t DEV", []string{`Abort task$`, `Logical unit reset`}},
		{"0", "sg_opcodes -t -q DEV", []string{`tmf long timeout`}},
		{"0", "sg_modes -a DEV", []string{`DpoFua=1`, `>> Caching`, `>> Control`, `>> Informational exceptions`, `>> Disconnect-Reconnect`}},
		{"0", "sg_modes -a -6 DEV", []string{`>> Caching`}},
		{"1", "sg_modes -a -c 1 DEV", []string{`changeable`}},
		{"1", "sg_modes -a -c 2 DEV", []string{`default`}},
		{"0", "sginfo -a DEV", []string{`Write Cache Enabled +1`, `Read Cache Disabled +0`}},
		{"0", "sg_wr_mode -p 8 DEV", []string{`^08 12 04`}},
		{"0", "sg_logs -A DEV", []string{`Supported log pages and subpages`, `Read error counter`}},
		{"0", "sg_rtpg -d -e DEV", []string{`active/optimized`, `Relative target port ids:`}},
		{"0", "sg_timestamp DEV", []string{`^[1-9][0-9]+$`}},
		{"0", "sg_senddiag -t DEV", []string{`GOOD status`}},
		{"0", "sg_persist -c DEV", []string{`Type Mask Valid\(TMV\): 1`}},
		{"0", "sg_turs -n 100 DEV", []string{`100 Test Unit Ready commands with 0 errors`}},
		{"0", "sg_requests DEV", []string{`Fixed format`, `No Sense`}},
		{"0", "sg_requests -d DEV", []string{`Descriptor format`, `No Sense`}},
		{"0", "sg_verify -c 131072 -b 8192 DEV", nil},
		{"0", "sg_verify --16 -l 8 -c 8 DEV", nil},
		{"0", "sg_sync DEV", nil},
		{"0", "sg_sync --16 --lba=8 --count=8 DEV", nil},
		// What the kernel made of it.
		{"0", "cat SYS/queue/write_cache", []string{`^write back$`}},
		{"0", "cat SYS/queue/fua", []string{`^1$`}},
		{"0", "cat SYS/queue/rotational", []string{`^0$`}},
		{"0", "cat SYS/queue/physical_block_size", []string{`^4096$`}},
		{"1", "cat SYS/queue/logical_block_size", []string{`^4096$`}},
		{"0", "cat SYS/device/wwid", []string{`^naa\.6`}},
	} {
		sd := r.disk(t, l, tt.lun)
		out, status := r.try(t, strings.NewReplacer("DEV", sd.dev(), "SYS", sd.block()).Replace(tt.command))
		if status != 0 || strange.MatchString(out) {
			t.Errorf("%s on LUN %s: exit status %d\n%s", tt.command, tt.lun, status, out)
			continue
		}
		for _, w := range tt.want {
			if !regexp.MustCompile(`(?m)` + w).MatchString(out) {
				t.Errorf("%s on LUN %s: no %q in\n%s", tt.command, tt.lun, w, out)
			}
		}
	}
	r.logout(t, l)
	r.run(t, "dmesg | grep 'Synchronizing SCSI cache'")
}

// strange is what the tools say of answers that they don't understand.
var strange = regexp.MustCompile(`(?i)illegal|invalid (field|opcode)|failed|malformed|unexpected|warning|too short|truncated|strange|bad |unable`)
