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
	thin, thick := r.disk(t, l, "0"), r.disk(t, l, "1")
	r.inspect(t, []query{
		{thin, "sg_inq DEV", []string{`PDT=0`, `SPC-4`, `CmdQue=1`, `Vendor identification: SANSTICK`, `Unit serial number: E2E-0`}},
		{thin, "sg_inq -d DEV", []string{`SPC-4`}},
		{thin, "sg_vpd DEV", []string{`Device identification`, `Block limits`, `Logical block provisioning`}},
		{thin, "sg_vpd -p 0x80 DEV", []string{`Unit serial number: E2E-0$`}},
		{thin, "sg_vpd -p 0x83 DEV", []string{`0x6[0-9a-f]{31}$`, `Relative target port: 0x1$`, `Target port group: 0x1$`, `iqn\.2006-12\.test\.sanstick:e2e,t,0x0001$`}},
		{thin, "sg_vpd -p 0x85 DEV", nil},
		{thin, "sg_vpd -p 0x86 DEV", []string{`HEADSUP=1 ORDSUP=1 SIMPSUP=1`, `V_SUP=1`, `LUICLR=1`}},
		{thin, "sg_vpd -p 0x87 DEV", []string{`Policy: shared`}},
		{thin, "sg_vpd -p 0x88 DEV", []string{`Relative port=1$`, `iqn\.2006-12\.test\.sanstick:e2e,t,0x0001$`}},
		{thin, "sg_vpd -p 0xb0 DEV", []string{`Maximum unmap LBA count: [1-9]`, `Maximum write same length: 0x[1-9a-f]`, `Optimal unmap granularity: 8 blocks`}},
		{thick, "sg_vpd -p 0xb0 DEV", []string{`Maximum unmap LBA count: 0 `}},
		{thin, "sg_vpd -p 0xb1 DEV", []string{`Non-rotating medium`}},
		{thin, "sg_vpd -p 0xb2 DEV", []string{`\(LBPU\): 1`, `\(LBPWS\): 1`, `\(LBPWS10\): 1`, `\(LBPRZ\): 1`, `thin provisioned`}},
		{thick, "sg_vpd -p 0xb2 DEV", []string{`\(LBPU\): 0`}},
		{thin, "sg_vpd -a DEV", nil},
		{thin, "sg_luns -d DEV", []string{`lun=0$`, `lun=1$`}},
		{thin, "sg_luns -s 1 DEV", []string{`c101000000000000`}},
		{thin, "sg_luns -s 2 DEV", []string{`c101000000000000`, `0001000000000000`}},
		{thin, "sg_readcap DEV", []string{`Last LBA=131071 `, `block length=512 `}},
		{thin, "sg_readcap -16 DEV", []string{`lbpme=1, lbprz=1`, `Last LBA=131071 `, `per physical block exponent=3`}},
		{thick, "sg_readcap -16 DEV", []string{`lbpme=0, lbprz=0`, `Last LBA=16383 `, `block length=4096 `, `exponent=0`}},
		{thin, "sg_opcodes DEV", []string{`Read\(16\)`, `Write\(16\)`, `Unmap`, `Report supported operation codes`}},
		{thin, "sg_opcodes -R DEV", []string{`Synchronize cache\(10\)`}},
		{thin, "sg_opcodes -o 0x28 DEV", []string{`Opcode=0x28`, `supported.*conforming`}},
		{thin, "sg_opcodes -o 0xea DEV", []string{`NOT supported`}},
		{thin, "sg_opcodes -t DEV", []string{`Abort task$`, `Logical unit reset`}},
		{thin, "sg_opcodes -t -q DEV", []string{`tmf long timeout`}},
		{thin, "sg_modes -a DEV", []string{`DpoFua=1`, `>> Caching`, `>> Control`, `>> Informational exceptions`, `>> Disconnect-Reconnect`}},
		{thin, "sg_modes -a -6 DEV", []string{`>> Caching`}},
		{thick, "sg_modes -a -c 1 DEV", []string{`changeable`}},
		{thick, "sg_modes -a -c 2 DEV", []string{`default`}},
		{thin, "sginfo -a DEV", []string{`Write Cache Enabled +1`, `Read Cache Disabled +0`}},
		{thin, "sg_wr_mode -p 8 DEV", []string{`^08 12 04`}},
		{thin, "sg_logs -A DEV", []string{`Supported log pages and subpages`, `Read error counter`}},
		{thin, "sg_rtpg -d -e DEV", []string{`active/optimized`, `Relative target port ids:`}},
		{thin, "sg_timestamp DEV", []string{`^[1-9][0-9]+$`}},
		{thin, "sg_senddiag -t DEV", []string{`GOOD status`}},
		{thin, "sg_persist -c DEV", []string{`Type Mask Valid\(TMV\): 1`}},
		{thin, "sg_turs -n 100 DEV", []string{`100 Test Unit Ready commands with 0 errors`}},
		{thin, "sg_requests DEV", []string{`Fixed format`, `No Sense`}},
		{thin, "sg_requests -d DEV", []string{`Descriptor format`, `No Sense`}},
		{thin, "sg_verify -c 131072 -b 8192 DEV", nil},
		{thin, "sg_verify --16 -l 8 -c 8 DEV", nil},
		{thin, "sg_sync DEV", nil},
		{thin, "sg_sync --16 --lba=8 --count=8 DEV", nil},
		// What the kernel made of it.
		{thin, "cat SYS/queue/write_cache", []string{`^write back$`}},
		{thin, "cat SYS/queue/fua", []string{`^1$`}},
		{thin, "cat SYS/queue/rotational", []string{`^0$`}},
		{thin, "cat SYS/queue/physical_block_size", []string{`^4096$`}},
		{thick, "cat SYS/queue/logical_block_size", []string{`^4096$`}},
		{thin, "cat SYS/device/wwid", []string{`^naa\.6`}},
	})
	r.logout(t, l)
	r.run(t, "dmesg | grep 'Synchronizing SCSI cache'")
}

// query is a command that has to succeed, with DEV for the disk and SYS for
// what the kernel says of it, and patterns of what it prints.
type query struct {
	disk    disk
	command string
	want    []string // for lines
}

// inspect has the guest run commands.
func (r *rig) inspect(t *testing.T, queries []query) {
	t.Helper()
	for _, q := range queries {
		out, status := r.try(t, strings.NewReplacer("DEV", q.disk.dev(), "SYS", q.disk.block()).Replace(q.command))
		if status != 0 || strange.MatchString(out) {
			t.Errorf("%s: exit status %d\n%s", q.command, status, out)
			continue
		}
		for _, w := range q.want {
			if !regexp.MustCompile(`(?m)` + w).MatchString(out) {
				t.Errorf("%s: no %q in\n%s", q.command, w, out)
			}
		}
	}
}

// strange is what the tools say of answers that they don't understand.
var strange = regexp.MustCompile(`(?i)illegal|invalid (field|opcode)|failed|malformed|unexpected|warning|too short|truncated|strange|bad |unable`)
