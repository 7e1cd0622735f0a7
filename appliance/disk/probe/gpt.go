package probe

// gptName is what a partition table of this kind is called.
const gptName = "GPT partition table"

// gpt finds a GUID partition table by its header at the start or its copy in
// the last block, for blocks of 512 and of 4096 bytes (UEFI 2.10 5.3.2).
func gpt(d *device) []Finding {
	var all []Finding
	for _, h := range gptHeaders(d) {
		f := Finding{What: gptName, Offset: h.at, UUID: guid(d.read(h.at+56, 16))}
		if h.copy && len(all) > 0 {
			f.What += " (copy)"
		}
		all = append(all, f)
	}
	return all
}

type gptHeader struct {
	at, block int64
	copy      bool // the one at the end
}

func gptHeaders(d *device) []gptHeader {
	var all []gptHeader
	for _, h := range []gptHeader{
		{at: 512, block: 512}, {at: 4096, block: 4096},
		{at: d.size - 512, block: 512, copy: true}, {at: d.size - 4096, block: 4096, copy: true},
	} {
		if d.has(h.at, "EFI PART") {
			all = append(all, h)
		}
	}
	return all
}

// gptPartitions lists the partitions of the first header that has any.
func gptPartitions(d *device) []Finding {
	for _, h := range gptHeaders(d) {
		b := d.read(h.at, 92)
		table := product(le64(b, 72), h.block)
		n, size := le32(b, 80), le32(b, 84)
		if table <= 0 || table >= d.size || n == 0 || size < 128 || size > 4096 {
			continue
		}
		n = min(n, maxPartitions)
		var all []Finding
		entries := d.read(table, int(n*size))
		for i := range n {
			e := entries[i*size:][:128]
			if nonZero(e[:16]) < 0 {
				continue
			}
			first, last := product(le64(e, 32), h.block), product(le64(e, 40), h.block)
			if first <= 0 || last < first || first >= d.size {
				continue
			}
			all = append(all, Finding{
				What: partition(gptTypes[guid(e)]), Partition: int(i) + 1, Offset: first,
				Size: min(last+h.block, d.size) - first, Label: text16(e[56:128]), UUID: guid(e[16:]),
			})
		}
		if len(all) > 0 {
			return all
		}
	}
	return nil
}

// gptTypes names the partition types that a person may come across.
var gptTypes = map[string]string{
	"c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "EFI system",
	"21686148-6449-6e6f-744e-656564454649": "BIOS boot",
	"e3c9e316-0b5c-4db8-817d-f92df00215ae": "Microsoft reserved",
	"ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": "Microsoft data",
	"de94bba4-06d1-4d40-a16a-bfd50179d6ac": "Windows recovery",
	"5808c8aa-7e8f-42e0-85d2-e1e90434cfb3": "Windows LDM metadata",
	"af9b60a0-1431-4f62-bc68-3311714a69ad": "Windows LDM data",
	"e75caf8f-f680-4cee-afa3-b001e56efc2d": "Windows Storage Spaces",
	"0fc63daf-8483-4772-8e79-3d69d8477de4": "Linux",
	"0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "Linux swap",
	"e6d6d379-f507-44c2-a23c-238f2a3df928": "Linux LVM",
	"a19d880f-05fc-4d3b-a006-743f0f84911e": "Linux RAID",
	"ca7d7ccb-63ed-4c53-861c-1742536059cc": "Linux LUKS",
	"4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "Linux root",
	"933ac7e1-2eb4-4f13-b844-0e14e2aef915": "Linux home",
	"48465300-0000-11aa-aa11-00306543ecac": "Apple HFS+",
	"7c3457ef-0000-11aa-aa11-00306543ecac": "Apple APFS",
	"53746f72-6167-11aa-aa11-00306543ecac": "Apple CoreStorage",
	"6a898cc3-1dd2-11b2-99a6-080020736631": "ZFS",
	"516e7cba-6ecf-11d6-8ff8-00022d09712b": "FreeBSD ZFS",
	"516e7cb6-6ecf-11d6-8ff8-00022d09712b": "FreeBSD UFS",
	"aa31e02a-400f-11db-9590-000c2911d1b8": "VMware VMFS",
	"9d275380-40ad-11db-bf97-000c2911d1b8": "VMware coredump",
	"9198effc-31c0-11db-8f78-000c2911d1b8": "VMware reserved",
	"4fbd7e29-9d25-41b8-afd0-062c0ceff05d": "Ceph OSD",
}
