package iscsitest

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/hex"
	"fmt"
	"hash"
	"net"
	"strconv"
	"strings"
	"time"
)

// Conn is a connection to a target. Fields may be changed at any time.
type Conn struct {
	net.Conn
	HeaderDigest, DataDigest bool   // in force; Login sets them
	CmdSN, ExpStatSN         uint32 // of the next request
	MaxCmdSN                 uint32 // as told last
	ITT                      uint32 // of the next request
	ISID                     [6]byte
	TSIH                     uint16
	// What was agreed on in login and matters for sending data.
	InitialR2T, ImmediateData   bool
	FirstBurst, TargetRecvLimit int

	r        *bufio.Reader
	deadline time.Time
}

// Dial connects. Everything that waits ends at ctx's deadline, or after 20 s.
func Dial(ctx context.Context, addr string) (*Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return NewConn(ctx, nc)
}

// NewConn makes a Conn of a connection there is.
func NewConn(ctx context.Context, nc net.Conn) (*Conn, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(20 * time.Second)
	}
	if err := nc.SetDeadline(deadline); err != nil {
		return nil, err
	}
	return &Conn{
		Conn: nc, CmdSN: 1, ITT: 1, ISID: [6]byte{0x80, 0, 0, 1}, r: bufio.NewReader(nc), deadline: deadline,
		InitialR2T: true, ImmediateData: true, FirstBurst: 65536, TargetRecvLimit: 8192,
	}, nil
}

// Send sends a PDU.
func (c *Conn) Send(p PDU) error { return c.SendSpoiled(p, SpoilNothing) }

// SendSpoiled sends a PDU with something wrong.
func (c *Conn) SendSpoiled(p PDU, bad Spoil) error {
	_, err := c.Write(p.encode(c.HeaderDigest, c.DataDigest, bad))
	return err
}

// Receive reads the next PDU and takes the sequence numbers over.
func (c *Conn) Receive() (PDU, error) {
	p, err := decode(c.r, c.HeaderDigest, c.DataDigest)
	if err != nil {
		return p, err
	}
	if p.Op() != 0x25 || p.BHS[1]&1 != 0 { // all but Data-In without status
		c.ExpStatSN = p.U32(24)
		if p.Op() != 0x31 {
			c.ExpStatSN++
		}
	}
	c.MaxCmdSN = p.U32(32)
	return p, nil
}

// Text makes a text segment of "key=value" strings.
func Text(keys ...string) []byte {
	var b []byte
	for _, k := range keys {
		b = append(append(b, k...), 0)
	}
	return b
}

// Keys splits a text segment. A key that comes several times keeps all its
// values, separated by spaces.
func Keys(b []byte) map[string]string {
	m := make(map[string]string)
	for kv := range strings.SplitSeq(string(b), "\x00") {
		if k, v, ok := strings.Cut(kv, "="); ok {
			if old, twice := m[k]; twice {
				v = old + " " + v
			}
			m[k] = v
		}
	}
	return m
}

// Stages of login.
const (
	Security    = 0
	Operational = 1
	FullFeature = 3
)

// LoginError is a login that the target has refused. Status has the class in
// the high byte.
type LoginError struct{ Status uint16 }

func (e *LoginError) Error() string { return fmt.Sprintf("login refused with status %#04x", e.Status) }

// LoginStep sends one login request and returns the answer. to = 0 asks for no
// transition.
func (c *Conn) LoginStep(stage, to byte, keys ...string) (PDU, map[string]string, error) {
	return c.LoginExchange(c.LoginRequest(stage, to, keys...))
}

// LoginExchange sends a login request and takes over what the answer says.
func (c *Conn) LoginExchange(p PDU) (PDU, map[string]string, error) {
	if err := c.Send(p); err != nil {
		return PDU{}, nil, err
	}
	resp, err := c.Receive()
	if err != nil {
		return resp, nil, err
	}
	if resp.Op() != 0x23 {
		return resp, nil, fmt.Errorf("want a login response, got %v", &resp)
	}
	if st := resp.U16(36); st != 0 {
		return resp, nil, &LoginError{st}
	}
	got := Keys(resp.Data)
	c.agreed(got)
	if resp.BHS[1]&0x83 == 0x83 {
		c.TSIH = resp.U16(14)
	}
	return resp, got, nil
}

// agreed takes over what matters of the target's answers.
func (c *Conn) agreed(keys map[string]string) {
	for k, v := range keys {
		n, _ := strconv.Atoi(v)
		switch k {
		case "InitialR2T":
			c.InitialR2T = v == "Yes"
		case "ImmediateData":
			c.ImmediateData = v == "Yes"
		case "FirstBurstLength":
			c.FirstBurst = n
		case "MaxRecvDataSegmentLength":
			c.TargetRecvLimit = n
		}
	}
}

// Login logs in by the operational stage alone, with these keys, and puts the
// digests that were agreed on into force.
func (c *Conn) Login(keys ...string) (map[string]string, error) {
	_, got, err := c.LoginStep(Operational, FullFeature, keys...)
	if err == nil {
		c.HeaderDigest, c.DataDigest = got["HeaderDigest"] == "CRC32C", got["DataDigest"] == "CRC32C"
	}
	return got, err
}

// Names returns the keys of a normal login.
func Names(initiator, target string, more ...string) []string {
	return append([]string{"InitiatorName=" + initiator, "TargetName=" + target, "SessionType=Normal"}, more...)
}

// CHAP is how to authenticate: Algorithm is 5 (MD5), 6 (SHA-1), 7 (SHA-256) or
// 8 (SHA3-256). With a TargetSecret the target has to prove itself too.
type CHAP struct {
	Algorithm                int
	User, Secret             string
	TargetUser, TargetSecret string
}

// LoginCHAP logs in by the security stage, and then the operational one with
// the keys more.
func (c *Conn) LoginCHAP(a CHAP, names []string, more ...string) (map[string]string, error) {
	_, got, err := c.LoginStep(Security, 0, append(names, "AuthMethod=CHAP")...)
	if err != nil {
		return got, err
	}
	if _, got, err = c.LoginStep(Security, 0, "CHAP_A="+strconv.Itoa(a.Algorithm)); err != nil {
		return got, err
	}
	keys, err := a.answer(got)
	if err != nil {
		return got, err
	}
	ours := []byte("the initiator's challenge")
	if a.TargetSecret != "" {
		keys = append(keys, "CHAP_I=7", "CHAP_C=0x"+hex.EncodeToString(ours))
	}
	if _, got, err = c.LoginStep(Security, Operational, keys...); err != nil {
		return got, err
	}
	if a.TargetSecret != "" {
		want := "0x" + hex.EncodeToString(a.respond(7, a.TargetSecret, ours))
		if got["CHAP_N"] != a.TargetUser || !hmac.Equal([]byte(got["CHAP_R"]), []byte(want)) {
			return got, fmt.Errorf("the target has not proven itself: CHAP_N=%s", got["CHAP_N"])
		}
	}
	return c.Login(more...)
}

// answer returns the keys that answer the target's challenge.
func (a CHAP) answer(got map[string]string) ([]string, error) {
	id, err := strconv.ParseUint(got["CHAP_I"], 10, 8)
	if err != nil {
		return nil, fmt.Errorf("CHAP_I: %w", err)
	}
	challenge, err := hex.DecodeString(strings.TrimPrefix(got["CHAP_C"], "0x"))
	if err != nil {
		return nil, fmt.Errorf("CHAP_C: %w", err)
	}
	return []string{"CHAP_N=" + a.User, "CHAP_R=0x" + hex.EncodeToString(a.respond(byte(id), a.Secret, challenge))}, nil
}

// Answer returns the keys that answer the keys of a target's challenge; none
// if there is no challenge in them.
func (a CHAP) Answer(challenge map[string]string) []string {
	keys, _ := a.answer(challenge)
	return keys
}

func (a CHAP) respond(id byte, secret string, challenge []byte) []byte {
	return CHAPResponse(a.Algorithm, id, secret, challenge)
}

// CHAPResponse is the response to a challenge (RFC 1994 section 4.1), by an
// algorithm as in CHAP.
func CHAPResponse(algorithm int, id byte, secret string, challenge []byte) []byte {
	h := map[int]func() hash.Hash{
		5: md5.New, 6: sha1.New, 7: sha256.New, 8: func() hash.Hash { return sha3.New256() },
	}[algorithm]()
	h.Write([]byte{id})
	h.Write([]byte(secret))
	h.Write(challenge)
	return h.Sum(nil)
}
