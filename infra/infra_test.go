package infra_test

import (
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tenon-run/tenon/internal/bus"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if folder := builtIn; folder != "" {
		_ = os.RemoveAll(folder)
	}
	os.Exit(code)
}

var builtIn string

// tenond builds the program once, with the version set as the Dockerfile sets it, and returns its path.
var tenond = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "tenon-infra-")
	if err != nil {
		return "", err
	}
	builtIn = folder
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		return "", err
	}
	build := regexp.MustCompile(`go build .*\\\n\s*-ldflags "-s -w (-X \S+=)\$\{VERSION\}" -o /tenond (\./cmd/tenond)\n`).FindSubmatch(dockerfile)
	if build == nil {
		return "", errors.New("the Dockerfile has another build line than these tests know")
	}
	path := filepath.Join(folder, "tenond")
	cmd := exec.Command("go", "build", "-ldflags", string(build[1])+"v1.2.3", "-o", path, string(build[2]))
	cmd.Dir = ".."
	if text, err := cmd.CombinedOutput(); err != nil {
		_, _ = os.Stderr.Write(text)
		return "", err
	}
	return path, nil
})

// help is what a command says of its flags and variables.
func help(t *testing.T, command string) string {
	t.Helper()
	path, err := tenond()
	if err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command(path, command, "--help").CombinedOutput()
	if err != nil || !strings.Contains(string(text), "tenond "+command) {
		t.Fatalf("tenond %s --help: %v\n%s", command, err, text)
	}
	return string(text)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// checkEnv holds the names of variables against the help of the command that reads them.
func checkEnv(t *testing.T, who, command string, names ...string) {
	t.Helper()
	known := help(t, command)
	for _, name := range names {
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(known) {
			t.Errorf("%s sets %s, which `tenond %s --help` does not mention", who, name, command)
		}
	}
}

// checkFlags holds the words of a command line against the help, and returns the services it names.
func checkFlags(t *testing.T, who, command string, words []string) (services []string) {
	t.Helper()
	known := help(t, command)
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		if !strings.HasPrefix(name, "--") || !regexp.MustCompile(`(?m)^\s+(-\w, )?`+name+`\b`).MatchString(known) {
			t.Errorf("%s: `tenond %s` knows no %s", who, command, word)
		}
		if name == "--services" {
			services = strings.Split(value, ",")
		}
	}
	return services
}

// verify runs systemd-analyze on units; it has found nothing only if it has said nothing.
func verify(t *testing.T, units ...string) string {
	t.Helper()
	text, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no", "--recursive-errors=no"}, units...)...).CombinedOutput()
	if err != nil {
		return string(text) + err.Error()
	}
	return string(text)
}

// install copies the units into a folder, with another program in place of those that are not installed on this machine.
func install(t *testing.T, change func(string) string) string {
	t.Helper()
	folder := t.TempDir()
	program, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"tenond@.service", "tenon-nats.service", "tenond@identity.service.d/master-key.conf"} {
		text := regexp.MustCompile(`(?m)^ExecStart=\S+`).ReplaceAllString(read(t, filepath.Join("systemd", path)), "ExecStart="+program)
		target := filepath.Join(folder, path)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, []byte(change(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, service := range bus.Services() {
		if err := os.Symlink("tenond@.service", filepath.Join(folder, "tenond@"+service+".service")); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestSystemdUnits(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Log("systemd is Linux's own")
		return
	}
	keep := func(text string) string { return text }
	folder := install(t, keep)
	units := []string{filepath.Join(folder, "tenon-nats.service")}
	for _, service := range bus.Services() {
		units = append(units, filepath.Join(folder, "tenond@"+service+".service"))
	}
	for _, unit := range units {
		if said := verify(t, unit); said != "" {
			t.Errorf("%s: %s", filepath.Base(unit), said)
		}
		// 10 is a service that may do anything; these two are at 1.4.
		const threshold = "20" // tenths
		text, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+threshold, unit).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(unit), err, text)
		}
	}
	for what, change := range map[string]func(string) string{
		"a misspelt key":   func(text string) string { return strings.Replace(text, "NoNewPrivileges", "NoNewPrivilege", 1) },
		"a bad value":      func(text string) string { return strings.Replace(text, "TimeoutStopSec=", "TimeoutStopSec=x", 1) },
		"a bad credential": func(text string) string { return strings.Replace(text, "LoadCredential=", "LoadCredential=:", 1) },
	} {
		if said := verify(t, filepath.Join(install(t, change), "tenond@identity.service")); said == "" {
			t.Errorf("%s is not found", what)
		}
	}
}

func TestSystemdUnitsNameWhatThereIs(t *testing.T) {
	t.Parallel()
	unit := read(t, "systemd/tenond@.service") + read(t, "systemd/tenond@identity.service.d/master-key.conf")
	if !strings.Contains(unit, "\nExecStart=/usr/local/bin/tenond serve\n") {
		t.Fatal("the unit starts something else than tenond serve")
	}
	var names []string
	text := unit + read(t, "systemd/tenond.env") + read(t, "systemd/tenond-scheduler.env")
	for _, found := range regexp.MustCompile(`(?m)^(?:# )?(?:Environment=)?([A-Z]+_[A-Z_]+)=`).FindAllStringSubmatch(text, -1) {
		names = append(names, found[1])
	}
	for _, name := range []string{"DATABASE_URL", "NATS_URL", "TENON_NATS_NKEY_FILE", "TENON_MASTER_KEY_FILE", "TENON_TLS_CERT_FILE", "TENON_SERVICES", "TENON_ADVERTISE"} {
		if !slices.Contains(names, name) {
			t.Errorf("the unit and its environment say nothing of %s", name)
		}
	}
	checkEnv(t, "the unit", "serve", names...)
}

type composeService struct {
	Image, User string
	Command     []string
	Build       struct{ Context, Dockerfile string }
	Environment map[string]string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck struct{ Test []string }
	Secrets     []any
	Volumes     []string
}

type composeFile struct {
	Services map[string]composeService
	Secrets  map[string]struct{ File string }
	Volumes  map[string]any
}

func compose(t *testing.T) composeFile {
	t.Helper()
	var file composeFile
	if err := yaml.Unmarshal([]byte(read(t, "compose/compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	return file
}

// composeKeys are what the Compose specification allows at each level, as far as the file uses it.
var composeKeys = struct{ top, service []string }{
	top: []string{"name", "services", "secrets", "volumes"},
	service: []string{
		"image", "user", "read_only", "cap_drop", "security_opt", "restart", "stop_grace_period", "healthcheck", "depends_on", "environment", "volumes", "shm_size",
		"build", "command", "secrets", "ports",
	},
}

func TestComposeKeysExist(t *testing.T) {
	t.Parallel()
	var file map[string]any
	if err := yaml.Unmarshal([]byte(read(t, "compose/compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	for key := range file {
		if !slices.Contains(composeKeys.top, key) && !strings.HasPrefix(key, "x-") {
			t.Errorf("compose knows no %s", key)
		}
	}
	for name, service := range file["services"].(map[string]any) {
		for key := range service.(map[string]any) {
			if !slices.Contains(composeKeys.service, key) {
				t.Errorf("%s: compose knows no %s", name, key)
			}
		}
	}
}

func TestComposeHangsTogether(t *testing.T) {
	t.Parallel()
	file := compose(t)
	var running []string
	for name, service := range file.Services {
		if service.Image == "" || strings.HasSuffix(service.Image, ":latest") {
			t.Errorf("%s: image %q", name, service.Image)
		}
		for needed, how := range service.DependsOn {
			other, exists := file.Services[needed]
			switch {
			case !exists:
				t.Errorf("%s waits for %s, which does not exist", name, needed)
			case how.Condition == "service_healthy" && len(other.Healthcheck.Test) < 2:
				t.Errorf("%s waits until %s is healthy, which has no check", name, needed)
			case how.Condition == "service_completed_successfully" && other.Command[0] == "serve":
				t.Errorf("%s waits for the end of %s, which never ends", name, needed)
			case !slices.Contains([]string{"service_healthy", "service_completed_successfully"}, how.Condition):
				t.Errorf("%s waits for %s to be %q", name, needed, how.Condition)
			}
		}
		secrets := checkSecrets(t, file, name, service)
		checkVolumes(t, file, name, service)
		if service.Image != "tenond" {
			continue
		}
		var names []string
		for variable, value := range service.Environment {
			names = append(names, variable)
			if target, ok := strings.CutPrefix(value, "/run/secrets/"); ok && !slices.Contains(secrets, target) {
				t.Errorf("%s: %s is %s, and no secret has this name there", name, variable, value)
			}
		}
		checkEnv(t, name, service.Command[0], names...)
		services := checkFlags(t, name, service.Command[0], service.Command[1:])
		running = append(running, services...)
		if _, key := service.Environment["TENON_MASTER_KEY_FILE"]; key != slices.Contains(services, "identity") {
			t.Errorf("%s: has the master key: %v; the identity service alone needs it", name, key)
		}
		if service.Command[0] == "serve" && (!strings.HasSuffix(service.Healthcheck.Test[len(service.Healthcheck.Test)-1], "/readyz") ||
			!slices.Contains(service.Command, "--advertise=http://"+name+":8080") || service.DependsOn["migrate"].Condition == "") {
			t.Errorf("%s: no readiness, no address of its own, or no wait for the schema", name)
		}
	}
	for _, service := range bus.Services() {
		if !slices.Contains(running, service) {
			t.Errorf("nobody runs %s", service)
		}
	}
	if nats := file.Services["nats-1"].Image; !strings.Contains(read(t, "../go.mod"), "github.com/nats-io/nats-server/v2 v"+strings.TrimSuffix(strings.TrimPrefix(nats, "nats:"), "-alpine")+"\n") {
		t.Errorf("the image is %s, go.mod has another version of the server that the tests run", nats)
	}
}

func checkSecrets(t *testing.T, file composeFile, name string, service composeService) (targets []string) {
	t.Helper()
	for _, entry := range service.Secrets {
		source, target := "", ""
		switch entry := entry.(type) {
		case string:
			source, target = entry, entry
		case map[string]any:
			source, _ = entry["source"].(string)
			target, _ = entry["target"].(string)
		}
		if _, exists := file.Secrets[source]; !exists {
			t.Errorf("%s: there is no secret %v", name, entry)
		}
		targets = append(targets, target)
	}
	return targets
}

func checkVolumes(t *testing.T, file composeFile, name string, service composeService) {
	t.Helper()
	for _, volume := range service.Volumes {
		source, _, _ := strings.Cut(volume, ":")
		switch {
		case strings.HasPrefix(source, "./secrets/"): // made by prepare.sh, see TestPrepare
		case strings.HasPrefix(source, "."):
			if _, err := os.Stat(filepath.Join("compose", source)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		default:
			if _, exists := file.Volumes[source]; !exists {
				t.Errorf("%s: there is no volume %s", name, source)
			}
		}
	}
	if service.Build.Context != "" {
		if _, err := os.Stat(filepath.Join("compose", service.Build.Context, service.Build.Dockerfile)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPrepare runs the script and finds every file and variable that the compose file wants.
func TestPrepare(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	prepare := func() {
		t.Helper()
		cmd := exec.Command("compose/prepare.sh", folder)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	prepare()
	env := read(t, filepath.Join(folder, ".env"))
	for _, found := range regexp.MustCompile(`\$\{(\w+)`).FindAllStringSubmatch(read(t, "compose/compose.yaml"), -1) {
		if !regexp.MustCompile(`(?m)^` + found[1] + `=.+$`).MatchString(env) {
			t.Errorf("the file .env says nothing of %s", found[1])
		}
	}
	file := compose(t)
	var wanted []string
	for _, secret := range file.Secrets {
		wanted = append(wanted, secret.File)
	}
	for _, service := range file.Services {
		for _, volume := range service.Volumes {
			if source, _, _ := strings.Cut(volume, ":"); strings.HasPrefix(source, "./secrets/") {
				wanted = append(wanted, source)
			}
		}
	}
	before := make(map[string]string)
	for _, path := range append(wanted, ".env") {
		full := filepath.Join(folder, path)
		before[full] = read(t, full)
		if info, err := os.Stat(full); err != nil || filepath.Base(path) != "users.conf" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(read(t, filepath.Join(folder, "secrets/master.key"))))
	if err != nil || len(key) != 32 {
		t.Errorf("the master key has %d bytes, %v", len(key), err)
	}
	prepare()
	for path, text := range before {
		if read(t, path) != text {
			t.Errorf("a second run has changed %s", path)
		}
	}
}

// TestDockerfile holds the Dockerfile against the checkout; the program of these tests is linked with its flags.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	text := read(t, "Dockerfile")
	path, err := tenond()
	if err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command(path, "--version").Output(); err != nil || !strings.Contains(string(said), "v1.2.3") {
		t.Errorf("the version is %q, %v", said, err)
	}
	wanted := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))[1]
	if !strings.Contains(text, "FROM golang:"+wanted+"-") {
		t.Errorf("the image's Go is not the %s of go.mod", wanted)
	}
	for line := range strings.FieldsSeq(read(t, "Dockerfile.dockerignore")) {
		if line == "go.mod" || line == "go.work" || strings.HasSuffix(line, ".go") {
			t.Errorf("the build needs %s", line)
		}
	}
}
