package target_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"sanstick/target"
	"sanstick/target/block"
	"sanstick/target/block/filedev"
	"sanstick/target/block/memdev"
	"sanstick/target/scsi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	openIQN   = "iqn.2026-01.test:open"
	lockedIQN = "iqn.2026-01.test:locked"
	secret    = "0123456789abcdef"
	diskSize  = 64 << 20
)

// serve starts a server with a target for anyone (LUN 0 a file, LUN 1 RAM,
// LUN 2 removable) and
// one that needs CHAP, and returns its address.
func serve(t *testing.T) (addr string) {
	t.Helper()
	srv, err := target.New(target.Options{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, diskSize); err != nil {
		t.Fatal(err)
	}
	file, err := filedev.Open(path, filedev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	mem, err := memdev.New(diskSize, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var luns []target.LUN
	for i, dev := range []block.Device{file, mem, mem} {
		serial := fmt.Sprint("INTEROP", i)
		u, err := scsi.NewUnit(dev, scsi.UnitOptions{Thin: i == 1, Removable: i == 2, Identity: scsi.Identity{Serial: serial, NAA: scsi.NAAFromUUID(serial)}})
		if err != nil {
			t.Fatal(err)
		}
		luns = append(luns, target.LUN{Number: uint16(i), Unit: u})
	}
	for _, c := range []target.Config{
		{IQN: openIQN, LUNs: luns, Initiators: []string{"*"}},
		{IQN: lockedIQN, LUNs: luns, Initiators: []string{"*"}, CHAP: &target.CHAP{User: "user", Secret: secret}},
	} {
		if err := srv.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, l := range luns {
			if err := l.Unit.Close(); err != nil {
				t.Error(err)
			}
		}
		for _, d := range []block.Device{file, mem} {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return l.Addr().String()
}

// try runs a program with a time limit and returns what it says.
func try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Fatalf("%s is missing: make deps-test", args[0])
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = t.TempDir()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// run is try for what must succeed.
func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := try(t, args...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

func contains(t *testing.T, out string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("no %q in:\n%s", w, out)
		}
	}
}

func TestLibiscsiTools(t *testing.T) {
	addr := serve(t)
	lun := "iscsi://" + addr + "/" + openIQN + "/0"
	contains(t, run(t, "iscsi-ls", "iscsi://"+addr), "Target:"+openIQN+" Portal:"+addr+",1", "Target:"+lockedIQN)
	// It logs in to every target, and to one of them it can't.
	out, err := try(t, "iscsi-ls", "-s", "iscsi://"+addr)
	contains(t, out, "Lun:0    Type:DIRECT_ACCESS", "Lun:1", "Authentication failure")
	if err == nil {
		t.Error("iscsi-ls got into the target that needs CHAP")
	}
	contains(t, run(t, "iscsi-inq", lun), "Peripheral Device Type:DIRECT_ACCESS", "Vendor:SANSTICK")
	contains(t, run(t, "iscsi-inq", "-e", "1", "-c", "128", lun), "INTEROP0")
	contains(t, run(t, "iscsi-readcapacity16", lun), fmt.Sprint("Total size:", diskSize))
	contains(t, run(t, "iscsi-readcapacity16", lun+"?header_digest=crc32c"), fmt.Sprint("Total size:", diskSize))
	if out, err := try(t, "iscsi-inq", "iscsi://"+addr+"/"+openIQN+"/7"); err == nil {
		t.Errorf("LUN 7 answers: %s", out)
	}
}

func TestLibiscsiCHAP(t *testing.T) {
	addr := serve(t)
	url := func(user string) string { return "iscsi://" + user + addr + "/" + lockedIQN + "/0" }
	contains(t, run(t, "iscsi-inq", url("user%"+secret+"@")), "Vendor:SANSTICK")
	for _, user := range []string{"", "user%wrong-secret-of-us@", "nobody%" + secret + "@"} {
		if out, err := try(t, "iscsi-inq", url(user)); err == nil || strings.Contains(out, "Vendor:SANSTICK") {
			t.Errorf("%q got in: %s", user, out)
		}
	}
}

// A real image goes there and comes back the same.
func TestQEMU(t *testing.T) {
	t.Parallel()
	addr := serve(t)
	image := filepath.Join(t.TempDir(), "image")
	data := make([]byte, diskSize)
	rand.NewChaCha8([32]byte{1}).Read(data[:20<<20]) // the rest stays zero
	if err := os.WriteFile(image, data, 0o600); err != nil {
		t.Fatal(err)
	}
	digests, err := json.Marshal(map[string]any{"driver": "raw", "file": map[string]any{"driver": "iscsi", "transport": "tcp",
		"portal": addr, "target": openIQN, "lun": 0, "header-digest": "crc32c"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, disk := range []string{
		"iscsi://" + addr + "/" + openIQN + "/0",
		"iscsi://" + addr + "/" + openIQN + "/1",
		"iscsi://user%" + secret + "@" + addr + "/" + lockedIQN + "/0",
		"json:" + string(digests),
	} {
		run(t, "qemu-img", "convert", "-n", "-O", "raw", image, disk)
		contains(t, run(t, "qemu-img", "compare", image, disk), "Images are identical")
		contains(t, run(t, "qemu-img", "bench", "-n", "-t", "none", "-d", "32", "-c", "500", disk), "Run completed")
		contains(t, run(t, "qemu-img", "bench", "-n", "-t", "none", "-s", "1M", "-d", "8", "-c", "100", disk), "Run completed")
		write := []string{"qemu-img", "bench", "-n", "-t", "none", "-w", "--flush-interval", "64", "-d", "32", "-c", "500", disk}
		if !strings.HasPrefix(disk, "json:") {
			write = append(write[:2:2], append([]string{"-f", "raw"}, write[2:]...)...)
		}
		contains(t, run(t, write...), "Run completed")
	}
}

// suites are the parts of libiscsi's test suite that must pass, on each of the
// units named. Each runs in a process of its own: tests that skip leave a hook
// in place which spoils the next ones. iscsi-test-cu counts a test that skips
// as passed, so every reason to skip that is fine has to be here, with how
// often it is given. Some reasons show with -V only.
var suites = []struct {
	name  string
	luns  string
	skips map[string]int
}{
	// All of SCSI.ExtendedCopy but ValidTgtDescr, which wants INVALID FIELD IN
	// CDB for a field of the parameter list.
	{"SCSI.ExtendedCopy.Simple", both, nil},
	{"SCSI.ExtendedCopy.ParamHdr", both, nil},
	{"SCSI.ExtendedCopy.DescrLimits", both, nil},
	{"SCSI.ExtendedCopy.DescrType", both, nil},
	{"SCSI.ExtendedCopy.ValidSegDescr", both, nil},
	{"SCSI.ReceiveCopyResults", both, nil},
	{"SCSI.Inquiry", thin, nil},
	{"SCSI.Inquiry", thick, map[string]int{fully: 1}},
	{"SCSI.Mandatory", both, nil},
	{"SCSI.ModeSense6", both, nil},
	{"SCSI.MultipathIO.Simple", both, nil},
	{"SCSI.MultipathIO.Reset", both, nil},
	{"SCSI.PreventAllow", removable, nil},
	{"SCSI.PrinReadKeys", thick, nil},
	{"SCSI.PrinReportCapabilities", thick, nil},
	{"SCSI.PrinServiceactionRange", thick, nil},
	{"SCSI.ProutClear", thick, nil},
	{"SCSI.ProutPreempt", thick, nil},
	{"SCSI.ProutRegister", thick, nil},
	{"SCSI.ProutReserve", thick, nil},
	{"SCSI.Read6", both, nil},
	{"SCSI.Read10", both, nil},
	{"SCSI.Read12", both, nil},
	{"SCSI.Read16", both, nil},
	{"SCSI.ReadCapacity10", both, nil},
	{"SCSI.ReadCapacity16", both, nil},
	{"SCSI.ReportSupportedOpcodes", both, nil},
	{"SCSI.Reserve6", thick, nil},
	{"SCSI.StartStopUnit", removable, nil},
	{"SCSI.TestUnitReady", both, nil},
	{"SCSI.Unmap", thin, nil},
	{"SCSI.Verify10", both, nil},
	{"SCSI.Verify12", thin, nil},
	{"SCSI.Verify16", thin, nil},
	{"SCSI.Write10", both, nil},
	{"SCSI.Write12", both, nil},
	{"SCSI.Write16", both, nil},
	{"SCSI.WriteSame10", thin, map[string]int{"WRITESAME10 does not support 0-blocks.": 1}}, // WSNZ
	{"SCSI.WriteSame10", thick, map[string]int{"WRITESAME10 does not support 0-blocks.": 1, fully: 4}},
	{"SCSI.WriteSame16", thin, map[string]int{"WRITESAME16 does not support 0-blocks.": 1}},
	{"SCSI.WriteSame16", thick, map[string]int{"WRITESAME16 does not support 0-blocks.": 1, fully: 4}},
	{"iSCSI.iSCSIcmdsn", thin, nil},
	{"iSCSI.iSCSIdatasn", thin, nil},
	{"iSCSI.iSCSIResiduals", thin, nil},
	{"iSCSI.iSCSITMF", thin, nil},
}

// The LUNs of serve, and what tests of UNMAP say about the one without.
const (
	thick, thin, removable = "0", "1", "2"
	both                   = thick + thin
	fully                  = "Logical unit is fully provisioned. Skipping test"
)

// cunit is the result file of iscsi-test-cu -x.
type cunit struct {
	Successes []string `xml:"CUNIT_RESULT_LISTING>CUNIT_RUN_SUITE>CUNIT_RUN_SUITE_SUCCESS>CUNIT_RUN_TEST_RECORD>CUNIT_RUN_TEST_SUCCESS>TEST_NAME"`
	Failures  []struct {
		Test      string `xml:"TEST_NAME"`
		File      string `xml:"FILE_NAME"`
		Line      string `xml:"LINE_NUMBER"`
		Condition string `xml:"CONDITION"`
	} `xml:"CUNIT_RESULT_LISTING>CUNIT_RUN_SUITE>CUNIT_RUN_SUITE_SUCCESS>CUNIT_RUN_TEST_RECORD>CUNIT_RUN_TEST_FAILURE"`
}

func TestLibiscsiSuites(t *testing.T) {
	t.Parallel()
	for _, s := range suites {
		for _, lun := range strings.Split(s.luns, "") {
			t.Run(s.name+"/"+lun, func(t *testing.T) {
				t.Parallel()
				testSuite(t, s.name, lun, s.skips)
			})
		}
	}
}

// testSuite runs a suite of iscsi-test-cu on a server of its own.
func testSuite(t *testing.T, name, lun string, skips map[string]int) {
	t.Helper()
	url := "iscsi://" + serve(t) + "/" + openIQN + "/" + lun
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "iscsi-test-cu", "-d", "-V", "-x", "-t", name, url, url)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cannot run iscsi-test-cu (apt-get install libiscsi-bin): %v\n%s", err, out)
	}
	file, err := os.ReadFile(filepath.Join(dir, "CUnitAutomated-Results.xml"))
	if err != nil {
		t.Fatal(err)
	}
	var r cunit
	dec := xml.NewDecoder(bytes.NewReader(file))
	dec.Strict = false
	if err := dec.Decode(&r); err != nil {
		t.Fatalf("cannot read the results: %v", err)
	}
	if len(r.Successes) == 0 {
		t.Errorf("no test has run:\n%s", file)
	}
	for _, f := range r.Failures {
		t.Errorf("%s: %s:%s %s", strings.TrimSpace(f.Test), f.File, f.Line, f.Condition)
	}
	got := map[string]int{}
	for _, m := range skipped.FindAllSubmatch(out, -1) {
		got[string(m[1])]++
	}
	if diff := cmp.Diff(skips, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("tests skipped (-want +got):\n%s\n%s", diff, out)
	}
}

// skipped finds the reasons that the tool gives for skipping.
var skipped = regexp.MustCompile(`(?m)\[SKIPP(?:ED|ING)\] *(.*?)\s*$`)
