package update

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Types of PEM blocks, as OpenSSL writes them.
const (
	pemPublic  = "PUBLIC KEY"
	pemPrivate = "PRIVATE KEY"
)

// EncodeKey gives a private key and its public one as PEM (PKCS #8 and PKIX),
// which other tools understand as well.
func EncodeKey(key ed25519.PrivateKey) (private, public []byte, err error) {
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot write the key: %w", err)
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("cannot write the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: priv}), pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: pub}), nil
}

// DecodePrivateKey reads what EncodeKey wrote. Its errors never show the key.
func DecodePrivateKey(text []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemPrivate {
		return nil, errors.New("it holds no private key in PEM; imagebuild keygen makes one")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("its private key can't be read")
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("its private key isn't one for ed25519")
	}
	return key, nil
}

// DecodePublicKeys reads public keys in PEM, one or more. No text is no key.
func DecodePublicKeys(text []byte) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			if len(keys) == 0 && len(text) > 0 {
				return nil, errors.New("it holds no public key in PEM; imagebuild keygen makes one")
			}
			return keys, nil
		}
		if block.Type != pemPublic {
			return nil, fmt.Errorf("it holds a %q, not public keys alone", block.Type)
		}
		k, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a public key can't be read: %w", err)
		}
		key, ok := k.(ed25519.PublicKey)
		if !ok {
			return nil, errors.New("a public key isn't one for ed25519")
		}
		keys, text = append(keys, key), rest
	}
}
