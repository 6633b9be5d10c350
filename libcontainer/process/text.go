package process

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Lines is the plan for a human, one decision a line.
func (p *Plan) Lines() []string {
	var out []string
	add := func(given bool, format string, args ...any) {
		if given {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(p.hostname != "", "hostname %s", p.hostname)
	add(p.domainname != "", "domainname %s", p.domainname)
	add(p.keyring, "keyring _ses.%s", p.id)
	for _, l := range p.labels {
		add(l.at == labelExec, "%s", l)
	}
	for _, s := range p.sysctls {
		add(true, "sysctl %s=%s", s.key, s.value)
	}
	add(p.HasInitialCPUs(), "CPUs %s before it joins the groups", p.affinity.initial.text)
	add(len(p.affinity.final.mask) > 0, "CPUs %s", p.affinity.final.text)
	out = append(out, p.outsideLines()...)
	add(p.terminal, "terminal%s", p.sizeText())
	for fd, s := range p.stdio {
		name := [...]string{"stdin", "stdout", "stderr"}[fd]
		add(s.reopen, "%s from the container's /dev/null", name)
		add(s.chown && !p.terminal, "%s owned by %d", name, p.user.UID)
	}
	if p.personality != nil {
		add(true, "personality %s", p.personality.name)
	}
	if p.memory != nil {
		add(true, "memory policy %s", p.memory.text)
	}
	add(true, "user %s", p.userText())
	add(true, "capabilities %s", p.caps)
	add(p.noNewPrivs, "no new privileges")
	add(true, "cwd %s", p.cwd)
	for _, v := range p.env {
		add(true, "env %s", v)
	}
	add(p.preserve > 0, "keep descriptors 3 to %d", 2+p.preserve)
	add(p.seccomp != nil, "%s", p.seccompText())
	add(p.listener != nil, "seccomp agent %s", p.agent())
	add(len(p.args) > 0, "exec %s", quoted(p.args))
	return out
}

func (p *Plan) outsideLines() []string {
	var out []string
	for _, r := range p.rlimits {
		out = append(out, "rlimit "+r.String())
	}
	if p.oomScore != nil {
		out = append(out, "oom_score_adj "+strconv.Itoa(*p.oomScore))
	}
	if p.scheduler != nil {
		out = append(out, "scheduler "+p.schedText)
	}
	if p.ioprio != nil {
		out = append(out, "io priority "+p.ioprio.text)
	}
	return out
}

func (p *Plan) sizeText() string {
	if p.size == nil {
		return ""
	}
	return fmt.Sprintf(" of %d columns, %d rows", p.size.Width, p.size.Height)
}

func (p *Plan) seccompText() string {
	if p.seccomp == nil {
		return ""
	}
	text := "seccomp default " + string(p.seccomp.DefaultAction)
	if n := len(p.seccomp.Syscalls); n > 0 {
		text += fmt.Sprintf(", %d rules", n)
	}
	if p.Filter != nil {
		text += fmt.Sprintf(", %d instructions", p.Filter.Instructions())
	}
	return text
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(out, " ") + "]"
}

// MarshalJSON is the plan for machines, in the words of config.json.
func (p *Plan) MarshalJSON() ([]byte, error) {
	out := map[string]any{
		"user": p.user, "umask": p.umask, "cwd": p.cwd, "args": p.args, "env": p.env,
		"candidates": p.candidates(), "noNewPrivileges": p.noNewPrivs, "terminal": p.terminal,
		"capabilities": map[string][]string{
			"bounding": p.caps.bounding.names(), "effective": p.caps.effective.names(), "permitted": p.caps.permitted.names(),
			"inheritable": p.caps.inheritable.names(), "ambient": p.caps.ambient.names(),
		},
	}
	optional := func(key string, given bool, value any) {
		if given {
			out[key] = value
		}
	}
	for _, l := range p.labels {
		optional(l.module, l.at == labelExec, l.value)
	}
	optional("hostname", p.hostname != "", p.hostname)
	optional("domainname", p.domainname != "", p.domainname)
	optional("keyring", p.keyring, "_ses."+p.id)
	optional("sysctl", len(p.sysctls) > 0, p.sysctlPaths())
	optional("outside", len(p.outsideLines()) > 0, p.outsideLines())
	optional("seccomp", p.seccomp != nil, p.seccompText())
	if p.personality != nil {
		out["personality"] = p.personality.name
	}
	if p.memory != nil {
		out["memoryPolicy"] = p.memory.text
	}
	return json.Marshal(out)
}

func (p *Plan) sysctlPaths() map[string]string {
	out := make(map[string]string, len(p.sysctls))
	for _, s := range p.sysctls {
		out["/proc/sys/"+s.path] = s.value
	}
	return out
}
