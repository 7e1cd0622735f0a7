//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// same is a program of the guest: it compares blocks of 512 bytes of a disk
// with the start of a file.
const same = `#!/bin/sh
# same DEV FIRST COUNT FILE
size=512 from=$2 count=$3
while [ $((from % 2 + count % 2)) = 0 ] && [ $size -lt 131072 ]; do
	size=$((size * 2)) from=$((from / 2)) count=$((count / 2))
done
dd if=$1 bs=$size skip=$from count=$count iflag=direct 2>/dev/null | cmp -s -n $(($3*512)) - $4 || { echo "$1 is not like $4"; exit 1; }
`

// Exit statuses of sg3-utils.
const (
	sgNotReady   = 2
	sgIllegal    = 5
	sgAttention  = 6
	sgProtected  = 7
	sgNoCommand  = 9
	sgMiscompare = 14
	sgRange      = 22
	sgReserved   = 24
)

// commands sends what the kernel itself seldom or never sends. DEV is a thin
// unit that has the pattern at its start, RAM another; p8 is the pattern's
// first 8 blocks, z8 zeros.
func commands(t *testing.T, r *rig) {
	d := r.serve(t, "--lun", "0="+sparse(t, 64*mib)+",thin", "--lun", "1=mem:16M", "--iqn", iqn)
	l := login{port: d.ports[0]}
	r.login(t, l)
	sd, ram := r.disk(t, l, "0"), r.disk(t, l, "1")
	r.run(t, "cd /run; head -c 4096 /pattern >p8; head -c 4096 /dev/zero >z8; cat p8 z8 >swap; head -c 512 p8 >p1")
	for _, tt := range []struct {
		name, command string
		status        int
		want          string // in what it prints
	}{
		{"COMPARE AND WRITE", "sg_compare_and_write --in=swap --lba=0 --num=8 --xferlen=8192 DEV && same DEV 0 8 z8", 0, ""},
		{"COMPARE AND WRITE, other data", "same DEV 8 1 p8 || sg_compare_and_write --in=swap --lba=8 --num=8 --xferlen=8192 DEV", sgMiscompare, "byte offset: 0 "},
		{"COMPARE AND WRITE, too long", "sg_compare_and_write --in=/pattern --lba=0 --num=255 --xferlen=261120 DEV", sgIllegal, ""},
		{"WRITE AND VERIFY(10)", "sg_write_verify -i p8 -l 0 -n 8 --ilen=4096 DEV && same DEV 0 8 p8", 0, ""},
		{"WRITE AND VERIFY(16), BYTCHK", "sg_write_verify -S -i z8 -l 0 -n 8 -b 1 --ilen=4096 DEV && same DEV 0 8 z8", 0, ""},
		{"WRITE SAME(10)", "sg_write_same --10 --lba=0 --num=8 --in=p1 --xferlen=512 DEV && same DEV 0 1 p1 && same DEV 7 1 p1", 0, ""},
		{"WRITE SAME(16)", "sg_write_same --16 --lba=0 --num=8 --in=z8 --xferlen=512 DEV && same DEV 0 8 z8", 0, ""},
		{"WRITE SAME(16), NDOB", "dd if=p8 of=DEV bs=4k oflag=direct conv=notrunc && sg_write_same --16 --ndob --lba=0 --num=8 DEV && same DEV 0 8 z8", 0, ""},
		{"WRITE SAME(16), too long", "sg_write_same --16 --lba=0 --num=131072 --in=z8 --xferlen=512 DEV", sgIllegal, ""},
		{"WRITE SAME(32)", "sg_write_same --32 --lba=0 --num=8 --in=z8 --xferlen=512 DEV", sgNoCommand, ""},
		{"ORWRITE", "sg_write_x --or --in=p8 --lba=0 --num=8 DEV && sg_write_x --or --in=z8 --lba=0 --num=8 DEV && same DEV 0 8 p8", 0, ""},
		{"WRITE ATOMIC", "sg_write_x --atomic=0 --in=p1 --lba=0 --num=1 RAM && same RAM 0 1 p1", 0, ""},
		{"WRITE ATOMIC, which files can't promise", "sg_write_x --atomic=0 --in=p1 --lba=0 --num=1 DEV", sgNoCommand, ""},
		{"WRITE(16)", "sg_write_x --normal --in=p8 --lba=0 --num=8 DEV && same DEV 0 8 p8", 0, ""},
		{"WRITE(16), protection", "sg_write_x --normal --wrprotect=1 --in=p8 --lba=0 --num=8 DEV", sgIllegal, ""},
		{"VERIFY(10), BYTCHK", "sg_verify --ndo=4096 --in=p8 -l 0 -c 8 DEV", 0, ""},
		{"VERIFY(16), other data", "sg_verify -S --ndo=4096 --in=z8 -l 0 -c 8 DEV", sgMiscompare, ""},
		{"VERIFY(10), behind the end", "sg_verify -l 131072 -c 1 DEV", sgRange, ""},
		{"READ(6)", "sg_dd if=DEV of=x bs=512 count=512 bpt=128 iflag=sgio cdbsz=6,10 && cmp -s -n 262144 x /pattern", 0, ""},
		{"READ(10)", "sg_dd if=DEV of=x bs=512 count=512 bpt=128 iflag=sgio,dpo cdbsz=10,10 && cmp -s -n 262144 x /pattern", 0, ""},
		{"READ(12)", "sg_dd if=DEV of=x bs=512 count=512 bpt=128 iflag=sgio,fua cdbsz=12,10 && cmp -s -n 262144 x /pattern", 0, ""},
		{"READ(16)", "sg_dd if=DEV of=x bs=512 count=512 bpt=128 iflag=sgio,fua cdbsz=16,10 && cmp -s -n 262144 x /pattern", 0, ""},
		{"READ(16), behind the end", "sg_raw -r 512 DEV 88 00 00 00 00 00 00 02 00 00 00 00 00 01 00 00", sgRange, "block address out of range"},
		{"WRITE(6)", "sg_dd if=/pattern of=DEV bs=512 count=64 seek=64 bpt=64 oflag=sgio cdbsz=10,6 && same DEV 64 64 /pattern", 0, ""},
		{"WRITE(12), FUA", "sg_dd if=/pattern of=DEV bs=512 count=64 seek=128 bpt=64 oflag=sgio,fua cdbsz=10,12 && same DEV 128 64 /pattern", 0, ""},
		{"PRE-FETCH(10)", "sg_seek --pre-fetch --10 --lba=0 --num-blocks=8 DEV", 0, ""},
		{"PRE-FETCH(16)", "sg_seek --pre-fetch --lba=0 --num-blocks=8 DEV", 0, ""},
		{"GET LBA STATUS, mapped", "sg_get_lba_status -bb --lba=0 DEV", 0, `^0$`},
		{"GET LBA STATUS, never written", "sg_get_lba_status -bb --lba=65536 DEV", 0, `^1$`},
		{"GET LBA STATUS, list", "sg_get_lba_status --lba=0 --maxlen=4096 DEV", 0, `\[2\] LBA: 0x[0-9a-f]+ +blocks: +[0-9]+ +deallocated`},
		{"READ DEFECT DATA", "sg_reassign -g DEV", 0, "grown defect list: 0"},
		{"FORMAT UNIT", "sg_format --format --quick DEV", sgNoCommand, ""},
		{"stop", "sg_start --stop DEV; sg_turs DEV", sgNotReady, ""},
		{"read while stopped", "sg_raw -r 512 DEV 28 00 00 00 00 00 00 00 01 00", sgNotReady, "[Ii]nitializing command required"},
		{"start", "sg_start --start DEV && sg_turs DEV", 0, ""},
		{"SANITIZE, crypto", "sg_sanitize --crypto --quick --wait DEV", sgIllegal, ""},
		{"SANITIZE, overwrite", "sg_sanitize --overwrite --pattern=p1 --ipl=512 --quick --wait DEV && same DEV 0 1 p1 && same DEV 131071 1 p1", 0, ""},
		{"SANITIZE, block erase", "sg_sanitize --block --quick --wait DEV && same DEV 0 8 z8", 0, ""},
		{"no such command", "sg_raw DEV ea 00 00 00 00 00", sgNoCommand, ""},
	} {
		if tt.name != "COMPARE AND WRITE, other data" && strings.HasPrefix(tt.name, "COMPARE") || strings.HasPrefix(tt.name, "READ(6)") {
			r.run(t, "dd if=/pattern of="+sd.dev()+" bs=64k count=8 oflag=direct conv=notrunc")
		}
		out, status := r.try(t, "cd /run; "+strings.NewReplacer("DEV", sd.dev(), "RAM", ram.dev()).Replace(tt.command))
		if status != tt.status || !regexp.MustCompile(`(?m)`+tt.want).MatchString(out) {
			t.Errorf("%s: %s: exit status %d, want %d and %q\n%s", tt.name, tt.command, status, tt.status, tt.want, out)
		}
	}
}

// copies has the target copy, within a unit and between units.
func copies(t *testing.T, r *rig) {
	d := r.serve(t, "--lun", "0="+sparse(t, 64*mib)+",thin", "--lun", "1=mem:64M", "--lun", "2=mem:64M,bs=4096", "--lun", "3="+sparse(t, 16*mib)+",ro", "--iqn", iqn)
	l := login{port: d.ports[0]}
	r.login(t, l)
	from, to, large := r.disk(t, l, "0"), r.disk(t, l, "1"), r.disk(t, l, "2")
	ro := "/dev/" + r.run(t, "ls "+r.disk(t, l, "3").block()+"/device/scsi_generic")
	r.write(t, from.dev(), 0)
	r.write(t, large.dev(), 0)
	r.inspect(t, []query{
		{from, "sg_inq DEV", []string{`3PC=1`}},
		{from, "sg_copy_results -p DEV", []string{`Copy from block device to block device`, `Identification descriptor`}},
		{from, "sg_xcopy if=DEV of=" + to.dev() + " bs=512 count=8192", []string{`8192 blocks, 1 command`}},
		{to, "same DEV 0 8192 /pattern", nil},
		{to, "sg_copy_results -s -l 1 DEV", []string{`completed without errors`, `Transfer count: 4194304$`}},
		{from, "sg_xcopy if=DEV of=DEV bs=512 count=1024 seek=65536 bpt=100 id_usage=disable", []string{`1024 blocks, 11 commands`}},
		{from, "same DEV 65536 1024 /pattern", nil},
		{from, "sg_xcopy if=DEV of=" + to.dev() + " bs=512 count=64 seek=16384 id_usage=discard cat=1 --on_src", nil},
		{to, "same DEV 16384 64 /pattern", nil},
		{large, "sg_xcopy if=DEV of=DEV bs=4096 count=128 seek=8192", nil},
		{large, "same DEV 65536 1024 /pattern", nil},
	})
	for _, command := range []string{
		fmt.Sprintf("sg_xcopy if=%s of=%s bs=512 count=64", from.dev(), ro),                   // it must not be written
		fmt.Sprintf("sg_xcopy if=%s of=%[1]s bs=512 count=64 seek=131040", from.dev()),        // behind the end
		fmt.Sprintf("sg_xcopy if=%s of=%s bs=512 count=64 skip=131040", from.dev(), to.dev()), // from behind the end
	} {
		if out, status := r.try(t, command); status == 0 {
			t.Errorf("%s: no error\n%s", command, out)
		}
	}
}

// large uses the end of a unit that needs 64-bit block addresses.
func large(t *testing.T, r *rig) {
	const size = 5 << 40
	d := r.serve(t, "--lun", "0="+sparse(t, size)+",thin", "--iqn", iqn)
	l := login{port: d.ports[0]}
	r.login(t, l)
	sd := r.disk(t, l, "0")
	r.inspect(t, []query{
		{sd, "blockdev --getsize64 DEV", []string{fmt.Sprintf(`^%d$`, int64(size))}},
		{sd, "sg_readcap DEV", []string{fmt.Sprintf(`Last LBA=%d `, size/512-1)}},
		{sd, fmt.Sprintf("sg_unmap --lba=%d --num=8 --force DEV", size/512-8), nil},
	})
	r.write(t, sd.dev(), size/mib-len(r.pattern)/mib)
	r.reads(t, sd.dev(), size/mib-len(r.pattern)/mib, r.pattern)
}
