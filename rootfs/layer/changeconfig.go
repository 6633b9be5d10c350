package layer

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// changeConfig carries out lines of a Dockerfile that change nothing but an image's configuration.
func changeConfig(i *ocispec.Image, lines []string) error {
	c := &i.Config
	for _, line := range lines {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		if rest == "" {
			return badChange(line, "there is nothing behind the instruction")
		}
		var err error
		switch strings.ToUpper(word) {
		case "CMD":
			c.Cmd, err = command(line, rest)
		case "ENTRYPOINT":
			c.Entrypoint, err = command(line, rest)
		case "ENV":
			err = pairs(line, rest, func(key, value string) { c.Env = setEnv(c.Env, key, value) })
		case "LABEL":
			err = pairs(line, rest, func(key, value string) {
				c.Labels = maps.Clone(c.Labels)
				if c.Labels == nil {
					c.Labels = map[string]string{}
				}
				c.Labels[key] = value
			})
		case "EXPOSE":
			c.ExposedPorts = add(c.ExposedPorts, strings.Fields(rest), func(port string) string {
				if !strings.Contains(port, "/") {
					port += "/tcp"
				}
				return port
			})
		case "VOLUME":
			var paths []string
			if paths, err = list(line, rest); err == nil {
				c.Volumes = add(c.Volumes, paths, func(p string) string { return p })
			}
		case "STOPSIGNAL":
			c.StopSignal = rest
		case "USER":
			c.User = rest
		case "WORKDIR":
			c.WorkingDir = rest
		default:
			err = badChange(line, word+" is no instruction that commit knows")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// command is the JSON form of a command, or the other one, which a shell reads.
func command(line, text string) ([]string, error) {
	if !strings.HasPrefix(text, "[") {
		return []string{"/bin/sh", "-c", text}, nil
	}
	return list(line, text)
}

// list is a JSON array of strings, or words.
func list(line, text string) ([]string, error) {
	if !strings.HasPrefix(text, "[") {
		return strings.Fields(text), nil
	}
	var out []string
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, badChange(line, "that is no JSON array of strings")
	}
	return out, nil
}

// pairs reads KEY=VALUE, or KEY VALUE of which the value is the rest of the line. A value may be quoted.
func pairs(line, text string, set func(key, value string)) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok || strings.ContainsAny(key, " \t") {
		if key, value, ok = strings.Cut(text, " "); !ok {
			return badChange(line, "that is not KEY=VALUE")
		}
	}
	value = strings.TrimSpace(value)
	if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
		value = value[1 : len(value)-1]
	}
	set(key, value)
	return nil
}

func setEnv(env []string, key, value string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(e string) bool { return strings.HasPrefix(e, key+"=") })
	return append(env, key+"="+value)
}

func add(set map[string]struct{}, names []string, form func(string) string) map[string]struct{} {
	out := maps.Clone(set)
	if out == nil {
		out = map[string]struct{}{}
	}
	for _, name := range names {
		out[form(name)] = struct{}{}
	}
	return out
}
