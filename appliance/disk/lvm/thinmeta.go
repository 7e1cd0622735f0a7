package lvm

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A Range is a part of a volume, in bytes.
type Range struct{ Off, Len int64 }

// ReserveMetadata keeps a thin pool's metadata as it is now for programs that
// read it while the pool is in use. There is one such copy at a time: what an
// interrupted one has left is released first.
func (c *Client) ReserveMetadata(ctx context.Context, group, pool string) error {
	if err := checkNames(group, pool); err != nil {
		return fmt.Errorf("cannot reserve thin pool's metadata: %w", err)
	}
	_ = c.message(ctx, group, pool, "release_metadata_snap") // it fails if there is none
	if err := c.message(ctx, group, pool, "reserve_metadata_snap"); err != nil {
		return fmt.Errorf("cannot reserve metadata of thin pool %s/%s: %w", group, pool, err)
	}
	return nil
}

// ReleaseMetadata is the end of ReserveMetadata.
func (c *Client) ReleaseMetadata(ctx context.Context, group, pool string) error {
	if err := checkNames(group, pool); err != nil {
		return fmt.Errorf("cannot release thin pool's metadata: %w", err)
	}
	if err := c.message(ctx, group, pool, "release_metadata_snap"); err != nil {
		return fmt.Errorf("cannot release metadata of thin pool %s/%s: %w", group, pool, err)
	}
	return nil
}

func (c *Client) message(ctx context.Context, group, pool, text string) error {
	_, err := c.run(ctx, statusLimit, orDefault(c.DMSetup, "/sbin/dmsetup"), []string{"message", DeviceName(group, pool) + "-tpool", "0", text})
	return err
}

// ThinID is the number that an active thin volume has in its pool's metadata.
func (c *Client) ThinID(ctx context.Context, group, volume string) (int, error) {
	if err := checkNames(group, volume); err != nil {
		return 0, fmt.Errorf("cannot find thin volume: %w", err)
	}
	out, err := c.run(ctx, statusLimit, orDefault(c.DMSetup, "/sbin/dmsetup"), []string{"table", DeviceName(group, volume)})
	if err != nil {
		return 0, fmt.Errorf("cannot read the table of volume %s/%s: %w", group, volume, err)
	}
	// 0 204800 thin 253:4 5
	f := strings.Fields(string(out))
	if len(f) < 5 || f[2] != "thin" {
		return 0, fmt.Errorf("cannot read the table of volume %s/%s: it is %q", group, volume, strings.TrimSpace(string(out)))
	}
	id, err := strconv.Atoi(f[4])
	if err != nil || id < 0 {
		return 0, fmt.Errorf("cannot read the table of volume %s/%s: number %q", group, volume, f[4])
	}
	return id, nil
}

// ThinDelta lists where two volumes of a thin pool differ, by the reserved
// metadata: in ascending order, in whole chunks. Chunks that are the same are
// shared, so what isn't listed is equal to the last bit; what is listed may be.
func (c *Client) ThinDelta(ctx context.Context, group, pool string, left, right int) ([]Range, error) {
	out, err := c.thinDelta(ctx, group, pool, left, right)
	if err != nil {
		return nil, err
	}
	return ParseDelta(out)
}

// ThinMapped lists what a volume of a thin pool has space for, by the reserved
// metadata: in ascending order, in whole chunks. All else in it reads as zeros.
func (c *Client) ThinMapped(ctx context.Context, group, pool string, id int) ([]Range, error) {
	out, err := c.thinDelta(ctx, group, pool, id, id) // it has this in common with itself
	if err != nil {
		return nil, err
	}
	return ParseMapped(out)
}

func (c *Client) thinDelta(ctx context.Context, group, pool string, left, right int) ([]byte, error) {
	if err := checkNames(group, pool); err != nil {
		return nil, fmt.Errorf("cannot compare thin volumes: %w", err)
	}
	out, err := c.run(ctx, reportLimit, orDefault(c.ThinDeltaProgram, "/usr/sbin/thin_delta"), []string{
		"--metadata-snap", "--thin1", strconv.Itoa(left), "--thin2", strconv.Itoa(right),
		"/dev/mapper/" + DeviceName(group, pool+"_tmeta"),
	})
	if err != nil {
		return nil, fmt.Errorf("cannot compare thin volumes of %s/%s: %w", group, pool, err)
	}
	return out, nil
}

// ParseDelta decodes what differs in thin_delta's answer:
//
//	<superblock ... data_block_size="128" nr_data_blocks="1600">
//	  <diff left="1" right="2">
//	    <same begin="0" length="10"/>
//	    <different begin="10" length="3"/>
//	    <left_only begin="20" length="1"/>
//	    <right_only begin="30" length="2"/>
//	  </diff>
//	</superblock>
func ParseDelta(answer []byte) ([]Range, error) {
	return parseDelta(answer, func(element string) bool { return element != "same" })
}

// ParseMapped decodes what a volume has in common with itself.
func ParseMapped(answer []byte) ([]Range, error) {
	return parseDelta(answer, func(element string) bool { return element == "same" })
}

func parseDelta(answer []byte, wanted func(element string) bool) ([]Range, error) {
	all := []Range{}
	chunk, last, ended := int64(0), int64(0), false
	fail := func(err error) ([]Range, error) { return nil, fmt.Errorf("cannot parse thin_delta's answer: %w", err) }
	for d := xml.NewDecoder(bytes.NewReader(answer)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fail(err)
		}
		if end, ok := token.(xml.EndElement); ok && end.Name.Local == "superblock" {
			ended = true
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		number := func(name string, most int64) int64 {
			for _, a := range e.Attr {
				if a.Name.Local == name {
					n, e := strconv.ParseInt(a.Value, 10, 64)
					if e != nil || n < 0 || n > most {
						err = fmt.Errorf("%s is %q", name, a.Value)
					}
					return n
				}
			}
			err = fmt.Errorf("there is no %s", name)
			return 0
		}
		switch e.Name.Local {
		case "superblock":
			chunk = number("data_block_size", 1<<30/512) * 512
		case "diff":
		case "same", "different", "left_only", "right_only":
			begin, length := number("begin", 1<<40), number("length", 1<<40)
			if err == nil && (chunk == 0 || length == 0 || begin < last) {
				err = fmt.Errorf("%d chunks at %d", length, begin)
			}
			if last = begin + length; err != nil || !wanted(e.Name.Local) {
				break
			}
			r := Range{begin * chunk, length * chunk}
			if n := len(all); n > 0 && all[n-1].Off+all[n-1].Len == r.Off {
				all[n-1].Len += r.Len
			} else {
				all = append(all, r)
			}
		default:
			err = fmt.Errorf("unknown element %s", e.Name.Local)
		}
		if err != nil {
			return fail(err)
		}
	}
	if !ended {
		return fail(io.ErrUnexpectedEOF)
	}
	return all, nil
}
