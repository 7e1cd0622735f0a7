package scsi

import "errors"

// thinSoftThreshold is THIN PROVISIONING SOFT THRESHOLD REACHED.
const thinSoftThreshold code = 0x3807

// SpaceLow tells every initiator, by a unit attention, that the space behind a
// thin unit is about to end (SBC-3 section 4.7.3.8.4). Whoever watches that
// space calls it, each time a threshold of its own is crossed: the unit itself
// doesn't know how much there is, and so has no thresholds that initiators
// could set. It returns an error if the unit isn't thin.
func (u *Unit) SpaceLow() error {
	if !u.thin() {
		return errors.New("cannot warn of low space: the logical unit is not thin")
	}
	u.attention(thinSoftThreshold, nil)
	return nil
}
