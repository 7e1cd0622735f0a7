package scsi

import "encoding/binary"

// managementAddresses is page 85 (SPC-4 section 7.8.7).
func managementAddresses(t *Task) []byte {
	var b []byte
	for _, url := range t.path.unit.o.Management {
		a := padName(url)
		b = append(b, 0x01, 0, 0, byte(len(a))) // storage configuration service of the unit
		b = append(b, a...)
	}
	return b
}

// extendedInquiry is page 86 (SPC-4 section 7.8.8).
func extendedInquiry(t *Task) []byte {
	b := make([]byte, 60)
	b[1] = 0x07 // HEADSUP, ORDSUP, SIMPSUP
	if t.info.WriteCache {
		b[2] = 0x01 // V_SUP
	}
	b[3] = 0x01 // LUICLR: REPORT LUNS clears a unit attention on its own nexus only
	return b
}

// modePagePolicy is page 87 (SPC-4 section 7.8.11): all nexuses share all
// pages.
func modePagePolicy(*Task) []byte { return []byte{allPages, allSubpages, 0x00, 0} }

// ports is page 88, SCSI ports (SPC-4 section 7.8.13).
func ports(t *Task) []byte {
	var b []byte
	for _, g := range t.nexus.device.portGroups() {
		for _, p := range g.Ports {
			name := padName(p.Name)
			b = append(b, 0, 0, byte(p.RelativeID>>8), byte(p.RelativeID), 0, 0, 0, 0)
			b = append(b, 0, 0)
			b = binary.BigEndian.AppendUint16(b, uint16(4+len(name)))
			b = append(b, iSCSI<<4|utf8Set, 0x80|ofPort|nameString, 0, byte(len(name)))
			b = append(b, name...)
		}
	}
	return b
}
