package load

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"sanstick/target/iscsitest"
)

// session is one session. One goroutine sends and receives: it reads answers
// as long as some are there, and sends what follows from them together.
type session struct {
	s     *Spec
	conn  net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
	rnd   *rand.Rand
	cmdSN uint32
	stat  uint32 // ExpStatSN

	blockSize int
	blocks    uint64 // that are used
	next      uint64 // block of the next sequential command
	limit     int    // bytes the target takes in one PDU
	burst     int    // bytes it takes unasked
	immediate bool

	sending  [48]byte // the header of the PDU that is sent
	received [52]byte // that of the last one that came, with its digest
	sum      [4]byte  // a digest
	payload  []byte   // of writes
	scratch  []byte   // of reads
	slots    []slot   // commands in flight, by task tag
	flushing int      // writes since the last flush

	ops, bytes int64
	latency    Histogram
}

// slot is a command in flight.
type slot struct {
	begun time.Time
	size  int
}

const tagBase = 0x100

// open logs in, clears unit attentions, and asks for the size.
func open(ctx context.Context, s *Spec, number int) (*session, error) {
	c, err := iscsitest.Dial(ctx, s.Addr)
	if err != nil {
		return nil, err
	}
	x := &session{s: s, conn: c.Conn, rnd: rand.New(rand.NewPCG(s.Seed, uint64(number)))}
	binary.BigEndian.PutUint32(c.ISID[2:], uint32(number))
	keys := iscsitest.Names(s.Initiator, s.Target, "InitialR2T=No", "ImmediateData=Yes",
		"MaxRecvDataSegmentLength=262144", "MaxBurstLength=16776192", "FirstBurstLength=262144")
	for _, d := range []struct {
		key string
		on  bool
	}{{"HeaderDigest", s.HeaderDigest}, {"DataDigest", s.DataDigest}} {
		v := "None"
		if d.on {
			v = "CRC32C"
		}
		keys = append(keys, d.key+"="+v)
	}
	if _, err := c.Login(keys...); err != nil {
		c.Close()
		return nil, err
	}
	if err := x.prepare(c); err != nil {
		c.Close()
		return nil, err
	}
	return x, nil
}

func (x *session) prepare(c *iscsitest.Conn) error {
	s := x.s
	if c.HeaderDigest != s.HeaderDigest || c.DataDigest != s.DataDigest {
		return errors.New("the target refuses digests")
	}
	for tries := 0; ; tries++ { // the unit attentions of a new nexus
		r, err := c.Do(iscsitest.Command{LUN: uint16(s.LUN), CDB: make([]byte, 6)})
		if err != nil {
			return err
		}
		if r.Status == 0 {
			break
		}
		if tries == 10 {
			return fmt.Errorf("the unit doesn't get ready: sense %06x", r.SenseCode())
		}
	}
	r, err := c.Do(iscsitest.Command{LUN: uint16(s.LUN), CDB: []byte{0x9e, 0x10, 13: 32, 15: 0}, In: 32})
	if err != nil {
		return err
	}
	if r.Status != 0 || len(r.Data) < 12 {
		return errors.New("READ CAPACITY (16) fails")
	}
	x.blockSize = int(binary.BigEndian.Uint32(r.Data[8:]))
	x.blocks = binary.BigEndian.Uint64(r.Data) + 1
	if n := uint64(s.Span) / uint64(x.blockSize); n > 0 {
		x.blocks = min(x.blocks, n)
	}
	per := s.Size / x.blockSize
	if per == 0 || s.Size%x.blockSize != 0 || x.blocks < uint64(per) || per > 0xffff {
		return fmt.Errorf("%d bytes don't fit blocks of %d", s.Size, x.blockSize)
	}
	x.limit, x.burst, x.immediate = c.TargetRecvLimit, c.FirstBurst, c.ImmediateData
	if c.InitialR2T {
		x.burst = min(x.burst, c.TargetRecvLimit)
	}
	x.next = x.rnd.Uint64N(x.blocks/uint64(per)) * uint64(per)
	x.payload = make([]byte, s.Size)
	for i := range x.payload {
		x.payload[i] = byte(x.rnd.Uint32())
	}
	x.scratch = make([]byte, 1<<20)
	x.cmdSN, x.stat = c.CmdSN, c.ExpStatSN
	x.r, x.w = bufio.NewReaderSize(c.Conn, 256<<10), bufio.NewWriterSize(c.Conn, 256<<10)
	x.slots = make([]slot, s.Depth)
	return nil
}

// run makes work until the time is over and the last answer is there.
func (x *session) run(now, end time.Time) error {
	open, left := 0, x.s.Count
	if left == 0 {
		left = math.MaxInt64
	}
	for ; open < len(x.slots) && left > 0; open++ {
		if err := x.issue(open, now); err != nil {
			return err
		}
		left--
	}
	for open > 0 {
		if x.r.Buffered() == 0 {
			if err := x.w.Flush(); err != nil {
				return err
			}
		}
		tag, err := x.receive()
		if err != nil {
			return err
		}
		if tag < 0 {
			continue
		}
		now = time.Now()
		x.latency.Add(now.Sub(x.slots[tag].begun))
		x.ops++
		x.bytes += int64(x.slots[tag].size)
		if now.After(end) || left == 0 {
			open--
			continue
		}
		left--
		if err := x.issue(tag, now); err != nil {
			return err
		}
	}
	return x.logout()
}

// newHeader returns an empty header, until the next one.
func (x *session) newHeader() *[48]byte {
	x.sending = [48]byte{}
	return &x.sending
}

// issue sends the next command under a tag.
func (x *session) issue(tag int, now time.Time) error {
	h := x.newHeader()
	cdb := h[32:]
	n := x.s.Size
	x.slots[tag] = slot{begun: now, size: n}
	switch write := x.s.WritePercent > 0 && x.rnd.IntN(100) < x.s.WritePercent; {
	case x.s.FlushEvery > 0 && x.flushing >= x.s.FlushEvery:
		x.flushing = 0
		x.slots[tag].size = 0
		cdb[0] = 0x35
		h[1] = 0x81
		return x.request(h, tag, 0, nil)
	case write:
		x.flushing++
		x.address(cdb, 0x8a)
		if x.s.FUA {
			cdb[1] = 0x08
		}
		var first []byte
		if x.immediate {
			first = x.payload[:min(n, x.limit, x.burst)]
		}
		h[1] = 0x21 // write, simple
		if len(first) >= min(n, x.burst) {
			h[1] |= 0x80
		}
		if err := x.request(h, tag, n, first); err != nil || h[1]&0x80 != 0 {
			return err
		}
		return x.sendData(tag, 0xffffffff, len(first), min(n, x.burst))
	}
	x.address(cdb, 0x88)
	h[1] = 0xc1 // final, read, simple
	return x.request(h, tag, n, nil)
}

// address makes a READ (16) or WRITE (16) of the next blocks.
func (x *session) address(cdb []byte, op byte) {
	per := uint64(x.s.Size / x.blockSize)
	lba := x.next
	if x.s.Random {
		lba = x.rnd.Uint64N(x.blocks/per) * per
	} else if x.next += per; x.next+per > x.blocks {
		x.next = 0
	}
	cdb[0] = op
	binary.BigEndian.PutUint64(cdb[2:], lba)
	binary.BigEndian.PutUint32(cdb[10:], uint32(per))
}

func (x *session) request(h *[48]byte, tag, edtl int, data []byte) error {
	h[0], h[9] = 0x01, x.s.LUN
	binary.BigEndian.PutUint32(h[16:], uint32(tagBase+tag))
	binary.BigEndian.PutUint32(h[20:], uint32(edtl))
	binary.BigEndian.PutUint32(h[24:], x.cmdSN)
	binary.BigEndian.PutUint32(h[28:], x.stat)
	x.cmdSN++
	return x.send(h, data)
}

// sendData sends payload[from:to].
func (x *session) sendData(tag int, ttt uint32, from, to int) error {
	for sn := uint32(0); from < to; sn++ {
		n := min(x.limit, to-from)
		h := x.newHeader()
		h[0], h[9] = 0x05, x.s.LUN
		if from+n == to {
			h[1] = 0x80
		}
		binary.BigEndian.PutUint32(h[16:], uint32(tagBase+tag))
		binary.BigEndian.PutUint32(h[20:], ttt)
		binary.BigEndian.PutUint32(h[28:], x.stat)
		binary.BigEndian.PutUint32(h[36:], sn)
		binary.BigEndian.PutUint32(h[40:], uint32(from))
		if err := x.send(h, x.payload[from:from+n]); err != nil {
			return err
		}
		from += n
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (x *session) send(h *[48]byte, data []byte) error {
	h[5], h[6], h[7] = byte(len(data)>>16), byte(len(data)>>8), byte(len(data))
	x.w.Write(h[:]) // errors stick to the writer
	sum := &x.sum
	if x.s.HeaderDigest {
		binary.LittleEndian.PutUint32(sum[:], crc32.Checksum(h[:], castagnoli))
		x.w.Write(sum[:])
	}
	_, err := x.w.Write(data) // a multiple of four: no padding
	if x.s.DataDigest && len(data) > 0 {
		binary.LittleEndian.PutUint32(sum[:], crc32.Checksum(data, castagnoli))
		_, err = x.w.Write(sum[:])
	}
	return err
}

// receive reads a PDU and does what it asks for. It returns the tag of the
// command that it ends, or -1.
func (x *session) receive() (int, error) {
	h := &x.received
	n := 48
	if x.s.HeaderDigest {
		n += 4
	}
	if _, err := io.ReadFull(x.r, h[:n]); err != nil {
		return 0, err
	}
	length := int(h[5])<<16 | int(h[6])<<8 | int(h[7])
	if h[4] != 0 || length > len(x.scratch)-8 {
		return 0, fmt.Errorf("unexpected PDU % x", h[:48])
	}
	data := x.scratch[:length+-length&3]
	if x.s.DataDigest && length > 0 {
		data = x.scratch[:len(data)+4]
	}
	if _, err := io.ReadFull(x.r, data); err != nil {
		return 0, err
	}
	if err := x.check(h[:n], data); err != nil {
		return 0, err
	}
	tag := int(binary.BigEndian.Uint32(h[16:])) - tagBase
	known := tag >= 0 && tag < len(x.slots)
	ends := false
	switch op := h[0] & 0x3f; {
	case op == 0x31 && known:
		from, n := int(binary.BigEndian.Uint32(h[40:])), int(binary.BigEndian.Uint32(h[44:]))
		if from < 0 || n < 0 || from+n > len(x.payload) {
			return 0, fmt.Errorf("R2T for bytes that there aren't: % x", h[:48])
		}
		return -1, x.sendData(tag, binary.BigEndian.Uint32(h[20:]), from, from+n)
	case op == 0x25 && known:
		ends = h[1]&1 != 0
	case op == 0x21 && known:
		ends = true
	case op == 0x20: // NOP-In; no answer is due if it has no target transfer tag
		return -1, nil
	default:
		return 0, fmt.Errorf("unexpected PDU % x", h[:48])
	}
	if !ends {
		return -1, nil
	}
	if h[3] != 0 || h[2] != 0 && h[0]&0x3f == 0x21 {
		return 0, fmt.Errorf("command failed with status %#02x: % x", h[3], data[:min(len(data), 20)])
	}
	x.stat = binary.BigEndian.Uint32(h[24:]) + 1
	return tag, nil
}

// check compares the digests.
func (x *session) check(h, data []byte) error {
	if x.s.HeaderDigest && crc32.Checksum(h[:48], castagnoli) != binary.LittleEndian.Uint32(h[48:]) {
		return errors.New("wrong header digest")
	}
	if n := len(data) - 4; x.s.DataDigest && n >= 0 && crc32.Checksum(data[:n], castagnoli) != binary.LittleEndian.Uint32(data[n:]) {
		return errors.New("wrong data digest")
	}
	return nil
}

// logout ends the session properly, so that the next one finds nothing of it.
func (x *session) logout() error {
	h := x.newHeader()
	h[0], h[1] = 0x46, 0x80
	binary.BigEndian.PutUint32(h[16:], uint32(tagBase+len(x.slots)))
	binary.BigEndian.PutUint32(h[24:], x.cmdSN)
	binary.BigEndian.PutUint32(h[28:], x.stat)
	if err := x.send(h, nil); err != nil {
		return err
	}
	if err := x.w.Flush(); err != nil {
		return err
	}
	var answer [48]byte
	if _, err := io.ReadFull(x.r, answer[:]); err != nil {
		return err
	}
	if answer[0]&0x3f != 0x26 || answer[2] != 0 {
		return errors.New("logout fails: operation code " + strconv.Itoa(int(answer[0])))
	}
	return nil
}
