package unh_test

import "sanstick/target/iscsitest"

// values is groups 9 to 20: what is negotiated.
var values = []test{
	{"9.1", "no digests", func(b *bench) {
		b.answered(map[string]string{"HeaderDigest": "None", "DataDigest": "None"}, "HeaderDigest=None", "DataDigest=None")
	}},
	{"9.2", "digests that don't exist", func(b *bench) {
		b.answered(map[string]string{"HeaderDigest": "Reject", "DataDigest": "Reject"}, "HeaderDigest=MD4", "DataDigest=crc32c")
	}},
	{"9.3", "CRC32C from the full feature phase on", func(b *bench) {
		c := b.dial()
		b.step(c, operational, 0, names("HeaderDigest=CRC32C", "DataDigest=CRC32C")...)
		b.step(c, operational, fullFeature) // still without
		c.HeaderDigest, c.DataDigest = true, true
		b.alive(c)
	}},
	{"10.1", "MaxConnections", func(b *bench) {
		b.answered(one("MaxConnections", "1"), "MaxConnections=1")
		b.answered(one("MaxConnections", "1"), "MaxConnections=65535")
		b.answered(one("MaxConnections", "Reject"), "MaxConnections=0")
		b.answered(one("MaxConnections", "Reject"), "MaxConnections=65536")
	}},
	{"12.1", "markers are refused", func(b *bench) {
		b.answered(map[string]string{"IFMarker": "No", "OFMarker": "No"}, "IFMarker=Yes", "OFMarker=No")
		b.answered(map[string]string{"IFMarkInt": "Reject", "OFMarkInt": "Reject"}, "IFMarkInt=2048~8192", "OFMarkInt=2048~8192")
	}},
	{"13.1", "booleans by OR", func(b *bench) {
		for _, k := range []string{"DataPDUInOrder", "DataSequenceInOrder"} {
			b.answered(one(k, "Yes"), k+"=Yes")
			b.answered(one(k, "Yes"), k+"=No")
		}
	}},
	{"13.2", "InitialR2T and ImmediateData are what was agreed on", func(b *bench) {
		for _, r2t := range []string{"Yes", "No"} {
			for _, immediate := range []string{"Yes", "No"} {
				b.answered(map[string]string{"InitialR2T": r2t, "ImmediateData": immediate}, "InitialR2T="+r2t, "ImmediateData="+immediate)
				c := b.session("InitialR2T="+r2t, "ImmediateData="+immediate, "FirstBurstLength=1024")
				data := noise(92, 8*blockSize)
				b.good(c, iscsitest.Write10(0, data, blockSize))
				b.same("data", data, b.good(c, iscsitest.Read10(0, 8, blockSize)))
			}
		}
	}},
	{"13.3", "illegal booleans", func(b *bench) {
		for _, v := range []string{"", "YES", "1", "true", "Yes,No", "No "} {
			b.answered(one("InitialR2T", "Reject"), "InitialR2T="+v)
		}
	}},
	{"14.1", "MaxRecvDataSegmentLength is declared, both ways", func(b *bench) {
		c := b.dial()
		_, got := b.step(c, operational, fullFeature, names("MaxRecvDataSegmentLength=600")...)
		n := c.TargetRecvLimit
		if got["MaxRecvDataSegmentLength"] == "600" || n < 512 || n > 1<<24-1 {
			b.Errorf("got %v", got)
		}
		b.settle(c)
		for _, p := range b.read(c, iscsitest.Read10(0, 8, blockSize)).pdus {
			if len(p.Data) > 600 {
				b.Errorf("%d bytes in a Data-In PDU", len(p.Data))
			}
		}
		// Exactly what the target declares it must take.
		ping := c.NOPOut(true, noise(93, n))
		if p := b.ask(c, ping, 0x20); string(p.Data) != string(ping.Data[:600]) {
			b.Errorf("got %v", &p)
		}
	}},
	{"15.1", "MaxBurstLength", func(b *bench) {
		b.answered(one("MaxBurstLength", "512"), "MaxBurstLength=512")
		b.answered(one("MaxBurstLength", "65536"), "MaxBurstLength=0x10000")
		b.answered(one("MaxBurstLength", "Reject"), "MaxBurstLength=511")
		b.answered(one("MaxBurstLength", "Reject"), "MaxBurstLength=16777216")
	}},
	{"16.1", "FirstBurstLength below MaxBurstLength", func(b *bench) {
		b.answered(map[string]string{"FirstBurstLength": "512", "MaxBurstLength": "1024"}, "FirstBurstLength=512", "MaxBurstLength=1024")
	}},
	{"16.2", "FirstBurstLength above MaxBurstLength", func(b *bench) {
		b.answered(map[string]string{"FirstBurstLength": "1024", "MaxBurstLength": "1024"}, "FirstBurstLength=4096", "MaxBurstLength=1024")
	}},
	{"16.3", "FirstBurstLength absent: the default holds", func(b *bench) {
		c := b.session("InitialR2T=No", "ImmediateData=No")
		if c.FirstBurst != 65536 {
			b.Fatalf("FirstBurstLength is %d", c.FirstBurst)
		}
		data := noise(94, 256*blockSize) // 64 KiB unsolicited, 64 KiB by R2T
		b.good(c, iscsitest.Write10(0, data, blockSize))
		b.same("medium", data, b.onDisk(0, 256))
	}},
	{"17.1", "DefaultTime2Retain", func(b *bench) {
		b.answered(one("DefaultTime2Retain", "0"), "DefaultTime2Retain=20")
		b.answered(one("DefaultTime2Retain", "Reject"), "DefaultTime2Retain=3601")
	}},
	{"18.1", "DefaultTime2Wait", func(b *bench) {
		b.answered(one("DefaultTime2Wait", "2"), "DefaultTime2Wait=0")
		b.answered(one("DefaultTime2Wait", "3600"), "DefaultTime2Wait=3600")
		b.answered(one("DefaultTime2Wait", "Reject"), "DefaultTime2Wait=3601")
	}},
	{"19.1", "MaxOutstandingR2T", func(b *bench) {
		b.answered(one("MaxOutstandingR2T", "1"), "MaxOutstandingR2T=1")
		b.answered(one("MaxOutstandingR2T", "Reject"), "MaxOutstandingR2T=0")
		b.answered(one("MaxOutstandingR2T", "Reject"), "MaxOutstandingR2T=65536")
	}},
	{"20.1", "ErrorRecoveryLevel", func(b *bench) {
		for _, v := range []string{"0", "1", "2"} {
			b.answered(one("ErrorRecoveryLevel", "0"), "ErrorRecoveryLevel="+v)
		}
		b.answered(one("ErrorRecoveryLevel", "Reject"), "ErrorRecoveryLevel=3")
	}},
}
