package target

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sanstick/target/iscsi"
	"sanstick/target/scsi"
)

// offered is a target that a server has.
type offered struct {
	device *scsi.Device
	luns   map[uint16]*scsi.Unit
}

func (c Config) iscsi(d *scsi.Device) iscsi.Target {
	t := iscsi.Target{
		Name: c.IQN, Alias: c.Alias, Device: d, Initiators: c.Initiators,
		CHAP: credentials(c.CHAP), Mutual: credentials(c.Mutual), Groups: c.Groups, Limit: c.Limit,
	}
	if r := c.Redirect; r != nil {
		t.Redirect = &iscsi.Redirect{Address: r.Address, Permanent: r.Permanent}
	}
	return t
}

func credentials(c *CHAP) *iscsi.Credentials {
	if c == nil {
		return nil
	}
	return &iscsi.Credentials{User: c.User, Secret: c.Secret}
}

// units returns the LUNs by their numbers.
func (c Config) units() (map[uint16]*scsi.Unit, error) {
	m := make(map[uint16]*scsi.Unit)
	for _, l := range c.LUNs {
		if m[l.Number] != nil {
			return nil, fmt.Errorf("LUN %d is there twice", l.Number)
		}
		if err := l.check(); err != nil {
			return nil, err
		}
		m[l.Number] = l.Unit
	}
	return m, nil
}

func (l LUN) check() error {
	if l.Number > scsi.MaxLUN {
		return fmt.Errorf("LUN %d: the highest is %d", l.Number, scsi.MaxLUN)
	}
	if l.Unit == nil {
		return fmt.Errorf("LUN %d has no unit", l.Number)
	}
	return nil
}

// Check says what is wrong with the names and credentials of a target, without
// a look at its LUNs. Add and Update refuse what Check refuses.
func (c Config) Check() error {
	if err := c.iscsi(nil).Check(); err != nil {
		return fmt.Errorf("target %q: %w", c.IQN, err)
	}
	return nil
}

// Add offers a target from now on. The same unit may be in several targets,
// and several times in one. Units stay the caller's to close, after they were
// removed from all targets or after Serve has returned.
func (s *Server) Add(c Config) error {
	units, err := c.units()
	if err != nil {
		return fmt.Errorf("cannot add target %q: %w", c.IQN, err)
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	name := strings.ToLower(c.IQN)
	t := &offered{device: scsi.NewDevice(name), luns: units}
	for lun, u := range units {
		if err := t.device.Attach(lun, u); err != nil {
			return fmt.Errorf("cannot add target %q: %w", c.IQN, err)
		}
	}
	if err := s.iscsi.Add(c.iscsi(t.device)); err != nil {
		return err
	}
	s.targets[name] = t
	return nil
}

// Remove takes targets away. It ends the sessions with them and returns when
// none of their commands is running any more.
func (s *Server) Remove(iqns ...string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	for _, iqn := range iqns {
		delete(s.targets, strings.ToLower(iqn))
	}
	return s.iscsi.Remove(iqns...)
}

// find returns a target. s.changing is held.
func (s *Server) find(iqn string) (*offered, error) {
	t := s.targets[strings.ToLower(iqn)]
	if t == nil {
		return nil, errors.New("there is no such target")
	}
	return t, nil
}

// AddLUN puts a unit into a target that is offered. No session is dropped:
// initiators that are logged in are told by a unit attention that the list of
// LUNs is another one.
func (s *Server) AddLUN(iqn string, l LUN) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	t, err := s.find(iqn)
	if err == nil {
		err = t.add(l)
	}
	if err != nil {
		return fmt.Errorf("cannot add LUN %d to target %q: %w", l.Number, iqn, err)
	}
	return nil
}

func (t *offered) add(l LUN) error {
	if err := l.check(); err != nil {
		return err
	}
	if err := t.device.Attach(l.Number, l.Unit); err != nil {
		return err
	}
	t.luns[l.Number] = l.Unit
	return nil
}

// RemoveLUN takes a unit out of a target and returns when no command that came
// to it there is running any more. No session is dropped: commands to the LUN
// fail from now on, and initiators that are logged in are told on the other
// LUNs.
func (s *Server) RemoveLUN(iqn string, number uint16) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	t, err := s.find(iqn)
	if err == nil {
		err = t.remove(number)
	}
	if err != nil {
		return fmt.Errorf("cannot remove LUN %d from target %q: %w", number, iqn, err)
	}
	return nil
}

func (t *offered) remove(number uint16) error {
	if err := t.device.Detach(number); err != nil {
		return err
	}
	delete(t.luns, number)
	return nil
}

// Update makes the target of that name what c says, and drops no session for
// it but those of initiators that may not log in any more. Sessions that were
// authenticated with old credentials go on; a login needs the new ones.
//
// LUNs that c doesn't have are removed as by RemoveLUN, those that are new are
// added as by AddLUN, and a number that has another unit now is both. Update
// returns when no command is running any more in the sessions it has ended and
// at the LUNs it has removed.
func (s *Server) Update(c Config) error {
	want, err := c.units()
	if err != nil {
		return fmt.Errorf("cannot change target %q: %w", c.IQN, err)
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	t, err := s.find(c.IQN)
	if err != nil {
		return fmt.Errorf("cannot change target %q: %w", c.IQN, err)
	}
	if err := s.iscsi.SetAccess(c.iscsi(nil)); err != nil {
		return err
	}
	for _, lun := range slices.Sorted(maps.Keys(t.luns)) {
		if want[lun] == t.luns[lun] {
			continue
		}
		if err := t.remove(lun); err != nil {
			return fmt.Errorf("cannot change target %q: %w", c.IQN, err)
		}
	}
	for _, lun := range slices.Sorted(maps.Keys(want)) {
		if t.luns[lun] != nil {
			continue
		}
		if err := t.add(LUN{lun, want[lun]}); err != nil {
			return fmt.Errorf("cannot change target %q: %w", c.IQN, err)
		}
	}
	return nil
}
