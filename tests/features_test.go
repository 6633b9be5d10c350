package tests

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"reflect"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// Every field of features.md's document is there, with something in it, and nothing else is.
//
//spec:89,90,91,92,93,94,95,96,97,98,99
func TestFeaturesDocument(t *testing.T) {
	raw, err := exec.Command(berth(t), "features").Output()
	if err != nil {
		t.Fatal(err)
	}
	var f features.Features
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		t.Fatal(err)
	}
	for _, path := range emptyFields(reflect.ValueOf(f), "") {
		t.Errorf("%s is missing or empty", path)
	}
}

// emptyFields are the fields without a value; a false is one.
func emptyFields(v reflect.Value, path string) (out []string) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return []string{path}
		}
		return emptyFields(v.Elem(), path)
	case reflect.Struct:
		for i := range v.NumField() {
			out = append(out, emptyFields(v.Field(i), path+"/"+v.Type().Field(i).Name)...)
		}
	case reflect.String, reflect.Slice, reflect.Map:
		if v.Len() == 0 {
			return []string{path}
		}
	}
	return out
}
