// Uses a registry as its users do from Go: every method of franz-go's client that Avro has a use for.
//
//	go run . REGISTRY [CHECK...]
//
// Prints a line for each check, `ok NAME` or `FAILED NAME: why`, or those named alone; ends with 1 if
// one failed. Each has subjects of its own, so that one that fails disturbs no other.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
)

const (
	order      = `{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"long"}]}`
	priced     = `{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"long"},{"name":"price","type":["null","double"],"default":null}]}`
	ofText     = `{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"string"}]}`
	address    = `{"type":"record","name":"Address","namespace":"shop","fields":[{"name":"street","type":"string"}]}`
	customer   = `{"type":"record","name":"Customer","namespace":"shop","fields":[{"name":"address","type":"Address"}]}`
	spaced     = `{"fields": [{"type": {"type": "long"}, "name": "id"}], "namespace": "shop", "name": "Order", "type": "record"}`
	noSuchGUID = "00000000-0000-4000-8000-000000000000"
	timeout    = 60 * time.Second
)

var run = fmt.Sprintf("%x", time.Now().UnixNano())

// place is a registry as one check sees it: what it makes is named after it.
type place struct {
	*sr.Client
	ctx  context.Context
	name string
}

func (p place) subject(name string) string { return fmt.Sprintf("%s.%s.%s", run, p.name, name) }

func (p place) with(params ...sr.Param) context.Context { return sr.WithParams(p.ctx, params...) }

// failure is what a check panics with.
type failure string

func fail(format string, arguments ...any) { panic(failure(fmt.Sprintf(format, arguments...))) }

func equal(what string, given, expected any) {
	if !reflect.DeepEqual(given, expected) {
		fail("%s: %v is not %v", what, given, expected)
	}
}

func same(what, given, expected string) {
	var left, right any
	if err := json.Unmarshal([]byte(given), &left); err != nil {
		fail("%s: %q is not JSON: %v", what, given, err)
	}
	if err := json.Unmarshal([]byte(expected), &right); err != nil {
		fail("%s: %v", what, err)
	}
	equal(what, left, right)
}

func got[T any](what string) func(T, error) T {
	return func(value T, err error) T {
		done(what, err)
		return value
	}
}

func done(what string, err error) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

// refused asks for a status, an error code, and that the client knows it; 0 for a code that it may not.
func refused(what string, err error, status int, codes ...int) {
	var response *sr.ResponseError
	if !errors.As(err, &response) {
		fail("%s: not refused, but %v", what, err)
	}
	if response.StatusCode != status || !slices.Contains(codes, response.ErrorCode) {
		fail("%s: %d, %s", what, response.StatusCode, response.Raw)
	}
	members := map[string]any{}
	if err := json.Unmarshal(response.Raw, &members); err != nil || len(members) != 2 || response.Message == "" {
		fail("%s: %s is not an error of two members", what, response.Raw)
	}
}

func failed[T any](_ T, err error) error { return err }

func avro(text string) sr.Schema { return sr.Schema{Schema: text} }

func types(p place) {
	known := got[[]sr.SchemaType]("types")(p.SupportedTypes(p.ctx))
	equal("Avro is a type", slices.Contains(known, sr.TypeAvro), true)
}

func subjects(p place) {
	names := []string{p.subject("a"), p.subject("b"), p.subject("größe/€ c")}
	for _, name := range names {
		got[sr.SubjectSchema]("create")(p.CreateSchema(p.ctx, name, avro(order)))
	}
	prefix := sr.SubjectPrefix(p.subject(""))
	list := got[[]string]("subjects")
	equal("by prefix", list(p.Subjects(p.with(prefix))), names)
	equal("a page", list(p.Subjects(p.with(prefix, sr.Offset(1), sr.Limit(1)))), names[1:2])
	equal("deleted", got[[]int]("delete")(p.DeleteSubject(p.ctx, names[0], sr.SoftDelete)), []int{1})
	equal("live", list(p.Subjects(p.with(prefix))), names[1:])
	equal("with deleted", list(p.Subjects(p.with(prefix, sr.ShowDeleted))), names)
	equal("deleted only", list(p.Subjects(p.with(prefix, sr.DeletedOnly))), names[:1])
}

func schemas(p place) {
	subject := p.subject("value")
	first := got[sr.SubjectSchema]("create")(p.CreateSchema(p.ctx, subject, avro(order)))
	equal("first", []any{first.Subject, first.Version}, []any{subject, 1})
	second := got[int]("register")(p.RegisterSchema(p.ctx, subject, avro(priced), -1, -1))
	equal("again", got[int]("register")(p.RegisterSchema(p.ctx, subject, avro(priced), -1, 2)), second)
	refused("incompatible", failed(p.RegisterSchema(p.ctx, subject, avro(ofText), -1, -1)), 409, 409, 40901)
	refused("invalid", failed(p.RegisterSchema(p.ctx, subject, avro("{}"), -1, -1)), 422, 42201)
	of := sr.Schema{Schema: "{}", Type: sr.TypeJSON}
	refused("JSON", failed(p.RegisterSchema(p.ctx, subject, of, -1, -1)), 422, 42201)
	of.Type = sr.TypeProtobuf
	refused("Protobuf", failed(p.RegisterSchema(p.ctx, subject, of, -1, -1)), 422, 42201)

	same("by id", got[sr.Schema]("by id")(p.SchemaByID(p.with(sr.Subject(subject)), first.ID)).Schema, order)
	got[sr.Schema]("by id")(p.SchemaByID(p.with(sr.FetchMaxID), first.ID))
	same("text", got[string]("text")(p.SchemaTextByID(p.ctx, second)), priced)
	named := p.with(sr.Subject(subject))
	using := got[[]string]("subjects of")(p.SubjectsByID(named, second))
	equal("subjects of", slices.Contains(using, subject), true)
	uses := got[[]sr.SubjectVersion]("versions of")(p.SchemaVersionsByID(named, second))
	equal("versions of", slices.Contains(uses, sr.SubjectVersion{Subject: subject, Version: 2}), true)
	usages := got[[]sr.SubjectSchema]("usages")(p.SchemaUsagesByID(named, second))
	found := func(usage sr.SubjectSchema) bool { return usage.Subject == subject && usage.Version == 2 }
	equal("usages", slices.ContainsFunc(usages, found), true)
	refused("no id", failed(p.SchemaByID(p.ctx, 1<<31-1)), 404, 40403)
	refused("no id", failed(p.SchemaTextByID(p.ctx, 1<<31-1)), 404, 40403)
	refused("no id", failed(p.SubjectsByID(p.ctx, 1<<31-1)), 404, 40403)
	refused("no id", failed(p.SchemaVersionsByID(p.ctx, 1<<31-1)), 404, 40403)

	equal("versions", got[[]int]("versions")(p.SubjectVersions(p.ctx, subject)), []int{1, 2})
	version := got[sr.SubjectSchema]("version")(p.SchemaByVersion(p.ctx, subject, 1))
	equal("version", []any{version.ID, version.Version}, []any{first.ID, 1})
	latest := got[sr.SubjectSchema]("latest")(p.SchemaByVersion(p.ctx, subject, -1))
	equal("latest", []any{latest.ID, latest.Version}, []any{second, 2})
	same("text", got[string]("text")(p.SchemaTextByVersion(p.ctx, subject, -1)), priced)
	refused("no version", failed(p.SchemaByVersion(p.ctx, subject, 3)), 404, 40402)
	refused("version 0", failed(p.SchemaByVersion(p.ctx, subject, 0)), 422, 42202)
	refused("no subject", failed(p.SchemaByVersion(p.ctx, p.subject("none"), -1)), 404, 40401)
	refused("no subject", failed(p.SubjectVersions(p.ctx, p.subject("none"))), 404, 40401)

	equal("schemas", len(got[[]sr.SubjectSchema]("schemas")(p.Schemas(p.ctx, subject))), 2)
	all := got[[]sr.SubjectSchema]("all")
	prefix := sr.SubjectPrefix(p.subject(""))
	equal("all", len(all(p.AllSchemas(p.with(prefix)))), 2)
	equal("all, a page", all(p.AllSchemas(p.with(prefix, sr.Offset(1), sr.Limit(1))))[0].Version, 2)
	newest := all(p.AllSchemas(p.with(prefix, sr.LatestOnly)))
	equal("all, latest", []any{len(newest), newest[0].Version}, []any{1, 2})
}

func lookup(p place) {
	subject := p.subject("value")
	made := got[sr.SubjectSchema]("create")(p.CreateSchema(p.ctx, subject, avro(order)))
	found := got[sr.SubjectSchema]("lookup")(p.LookupSchema(p.ctx, subject, avro(order)))
	equal("lookup", []any{found.ID, found.Version, found.Subject}, []any{made.ID, 1, subject})
	found = got[sr.SubjectSchema]("normalized")(p.LookupSchema(p.with(sr.Normalize), subject, avro(spaced)))
	equal("normalized", found.ID, made.ID)
	again := got[int]("register")(p.RegisterSchema(p.with(sr.Normalize), subject, avro(spaced), -1, -1))
	equal("registered normalized", again, made.ID)
	refused("no schema", failed(p.LookupSchema(p.ctx, subject, avro(ofText))), 404, 40403)
	refused("no subject", failed(p.LookupSchema(p.ctx, p.subject("none"), avro(order))), 404, 40401)
	got[[]int]("delete")(p.DeleteSubject(p.ctx, subject, sr.SoftDelete))
	refused("deleted", failed(p.LookupSchema(p.ctx, subject, avro(order))), 404, 40401, 40403)
	deleted := got[sr.SubjectSchema]("deleted")(p.LookupSchema(p.with(sr.ShowDeleted), subject, avro(order)))
	equal("deleted", deleted.Version, 1)
}

func compatibility(p place) {
	subject := p.subject("value")
	got[sr.SubjectSchema]("create")(p.CreateSchema(p.ctx, subject, avro(order)))
	verdict := got[sr.CheckCompatibilityResult]("check")
	for _, version := range []int{1, -1, -2} {
		equal("compatible", verdict(p.CheckCompatibility(p.ctx, subject, version, avro(priced))).Is, true)
		bad := verdict(p.CheckCompatibility(p.with(sr.Verbose), subject, version, avro(ofText)))
		if bad.Is || len(bad.Messages) == 0 {
			fail("verbose: %+v", bad)
		}
		bad = verdict(p.CheckCompatibility(p.ctx, subject, version, avro(ofText)))
		equal("not verbose", []any{bad.Is, len(bad.Messages)}, []any{false, 0})
	}
	refused("no version", failed(p.CheckCompatibility(p.ctx, subject, 7, avro(order))), 404, 40402)
	refused("invalid", failed(p.CheckCompatibility(p.ctx, subject, 1, avro("{}"))), 422, 42201)
}

func levels(p place) {
	subject, other := p.subject("value"), p.subject("other")
	global := p.Compatibility(p.ctx)[0]
	done("global", global.Err)
	equal("global", global.Level, sr.CompatBackward)
	refused("none of its own", p.Compatibility(p.ctx, subject)[0].Err, 404, 40408)
	defaulted := p.Compatibility(p.with(sr.DefaultToGlobal), subject)[0]
	done("defaulted", defaulted.Err)
	equal("defaulted", defaulted.Level, sr.CompatBackward)
	for level := sr.CompatNone; level <= sr.CompatFullTransitive; level++ {
		for _, set := range p.SetCompatibility(p.ctx, sr.SetCompatibility{Level: level}, subject, other) {
			done("set", set.Err)
			equal("set", set.Level, level)
		}
		for _, read := range p.Compatibility(p.ctx, subject, other) {
			done("read", read.Err)
			equal("read", read.Level, level)
		}
	}
	for _, reset := range p.ResetCompatibility(p.ctx, subject, other) {
		done("reset", reset.Err)
	}
	refused("reset", p.Compatibility(p.ctx, subject)[0].Err, 404, 40408)
	refused("reset again", p.ResetCompatibility(p.ctx, subject)[0].Err, 404, 40401)
	done("set global", p.SetCompatibility(p.ctx, sr.SetCompatibility{Level: sr.CompatFull})[0].Err)
	equal("global", p.Compatibility(p.ctx)[0].Level, sr.CompatFull)
	done("reset global", p.ResetCompatibility(p.ctx)[0].Err)
	equal("global", p.Compatibility(p.ctx)[0].Level, sr.CompatBackward)
}

func deletions(p place) {
	subject := p.subject("value")
	for _, text := range []string{order, priced} {
		got[sr.SubjectSchema]("create")(p.CreateSchema(p.ctx, subject, avro(text)))
	}
	refused("hard first", p.DeleteSchema(p.ctx, subject, 1, sr.HardDelete), 404, 40407)
	done("soft", p.DeleteSchema(p.ctx, subject, 1, sr.SoftDelete))
	refused("soft again", p.DeleteSchema(p.ctx, subject, 1, sr.SoftDelete), 404, 40406)
	versions := got[[]int]("versions")
	equal("live", versions(p.SubjectVersions(p.ctx, subject)), []int{2})
	equal("with deleted", versions(p.SubjectVersions(p.with(sr.ShowDeleted), subject)), []int{1, 2})
	equal("deleted only", versions(p.SubjectVersions(p.with(sr.DeletedOnly), subject)), []int{1})
	got[sr.SubjectSchema]("shown")(p.SchemaByVersion(p.with(sr.ShowDeleted), subject, 1))
	got[string]("shown")(p.SchemaTextByVersion(p.with(sr.ShowDeleted), subject, 1))
	refused("not shown", failed(p.SchemaByVersion(p.ctx, subject, 1)), 404, 40402)
	done("hard", p.DeleteSchema(p.ctx, subject, 1, sr.HardDelete))
	equal("gone", versions(p.SubjectVersions(p.with(sr.ShowDeleted), subject)), []int{2})
	refused("hard first", failed(p.DeleteSubject(p.ctx, subject, sr.HardDelete)), 404, 40405)
	equal("subject", versions(p.DeleteSubject(p.ctx, subject, sr.SoftDelete)), []int{2})
	refused("soft again", failed(p.DeleteSubject(p.ctx, subject, sr.SoftDelete)), 404, 40404)
	equal("subject", versions(p.DeleteSubject(p.ctx, subject, sr.HardDelete)), []int{2})
	refused("gone", failed(p.DeleteSubject(p.ctx, subject, sr.SoftDelete)), 404, 40401)
	refused("gone", p.DeleteSchema(p.ctx, subject, -1, sr.SoftDelete), 404, 40401)
}

func references(p place) {
	base, user := p.subject("address"), p.subject("value")
	got[sr.SubjectSchema]("base")(p.CreateSchema(p.ctx, base, avro(address)))
	schema := avro(customer)
	schema.References = []sr.SchemaReference{{Name: "shop.Address", Subject: base, Version: 1}}
	made := got[sr.SubjectSchema]("user")(p.CreateSchema(p.ctx, user, schema))
	equal("kept", made.References, schema.References)
	for _, version := range []int{1, -1} {
		users := got[[]sr.SubjectSchema]("referenced by")(p.SchemaReferences(p.ctx, base, version))
		equal("referenced by", []any{len(users), users[0].ID}, []any{1, made.ID})
	}
	equal("lookup", got[sr.SubjectSchema]("lookup")(p.LookupSchema(p.ctx, user, schema)).ID, made.ID)
	refused("referenced", failed(p.DeleteSubject(p.ctx, base, sr.SoftDelete)), 422, 42206)
	refused("referenced", p.DeleteSchema(p.ctx, base, 1, sr.SoftDelete), 422, 42206)
	schema.References[0].Version = 7
	refused("lost", failed(p.CreateSchema(p.ctx, p.subject("lost"), schema)), 422, 42201)
}

func metadata(p place) {
	subject := p.subject("value")
	schema := avro(order)
	schema.SchemaMetadata = &sr.SchemaMetadata{
		Tags:       map[string][]string{"shop.Order.id": {"PII"}},
		Properties: map[string]string{"major": "1"},
		Sensitive:  []string{"major"},
	}
	rule := sr.SchemaRule{
		Name: "long", Doc: "Ids are positive.", Kind: sr.SchemaRuleKindCondition,
		Mode: sr.SchemaRuleModeWrite, Type: "CEL", Tags: []string{"PII"},
		Params: map[string]string{"a": "b"}, Expr: "message.id > 0", OnSuccess: "NONE", OnFailure: "ERROR",
	}
	schema.SchemaRuleSet = &sr.SchemaRuleSet{DomainRules: []sr.SchemaRule{rule}}
	made := got[sr.SubjectSchema]("create")(p.CreateSchema(p.ctx, subject, schema))
	equal("metadata", made.SchemaMetadata, schema.SchemaMetadata)
	equal("rules", made.SchemaRuleSet, schema.SchemaRuleSet)
	plain := got[sr.SubjectSchema]("without")(p.CreateSchema(p.ctx, p.subject("plain"), avro(order)))
	equal("another schema", plain.ID == made.ID, false)
}

func configurations(p place) {
	subject := p.subject("value")
	config := sr.SetCompatibility{
		Level: sr.CompatFull, Normalize: true, Group: "major", Alias: p.subject("alias"),
		DefaultMetadata:  &sr.SchemaMetadata{Properties: map[string]string{"owner": "shop"}},
		OverrideMetadata: &sr.SchemaMetadata{Properties: map[string]string{"kept": "always"}},
		DefaultRuleSet: &sr.SchemaRuleSet{DomainRules: []sr.SchemaRule{{
			Name: "r", Kind: sr.SchemaRuleKindTransform, Mode: sr.SchemaRuleModeRead, Type: "CEL",
			Tags: []string{"PII"}, Expr: "value",
		}}},
		OverrideRuleSet: &sr.SchemaRuleSet{MigrationRules: []sr.SchemaRule{{
			Name: "m", Kind: sr.SchemaRuleKindTransform, Mode: sr.SchemaRuleModeUpgrade, Type: "JSONATA",
			Tags: []string{}, Expr: "$",
		}}},
	}
	set := p.SetCompatibility(p.ctx, config, subject)[0]
	done("set", set.Err)
	read := p.Compatibility(p.ctx, subject)[0]
	done("read", read.Err)
	equal("level", read.Level, config.Level)
	equal("normalize", read.Normalize, true)
	equal("group", read.Group, config.Group)
	equal("alias", read.Alias, config.Alias)
	equal("default metadata", read.DefaultMetadata, config.DefaultMetadata)
	equal("override metadata", read.OverrideMetadata, config.OverrideMetadata)
	equal("default rules", read.DefaultRuleSet.DomainRules[0].Name, "r")
	equal("override rules", read.OverrideRuleSet.MigrationRules[0].Name, "m")
}

func guids(p place) {
	subject := p.subject("value")
	made := got[sr.SubjectSchema]("create")(p.CreateSchema(p.ctx, subject, avro(order)))
	equal("the length of a guid", len(made.GUID), len(noSuchGUID))
	same("by guid", got[sr.SubjectSchema]("by guid")(p.SchemaByGUID(p.ctx, made.GUID)).Schema.Schema, order)
	ids := got[[]sr.ContextID]("ids")(p.SchemaIDsByGUID(p.ctx, made.GUID))
	equal("ids", slices.Contains(ids, sr.ContextID{Context: ".", ID: made.ID}), true)
	refused("no guid", failed(p.SchemaByGUID(p.ctx, noSuchGUID)), 404, 40403)
}

func contexts(p place) {
	name := ".g" + run
	equal("the default one", slices.Contains(got[[]string]("contexts")(p.Contexts(p.ctx)), "."), true)
	inside, subject := p, p.subject("value")
	inside.ctx = sr.InContext(p.ctx, name)
	made := got[sr.SubjectSchema]("create")(inside.CreateSchema(inside.ctx, subject, avro(order)))
	equal("qualified", made.Subject, ":"+name+":"+subject)
	got[sr.Schema]("by id")(inside.SchemaByID(inside.ctx, made.ID))
	equal("versions", got[[]int]("versions")(inside.SubjectVersions(inside.ctx, subject)), []int{1})
	refused("elsewhere", failed(p.SubjectVersions(p.ctx, subject)), 404, 40401)
	by := got[[]string]("contexts")(p.Contexts(p.with(sr.ContextPrefix(name))))
	equal("by prefix", by, []string{name})
	done("level", inside.SetCompatibility(inside.ctx, sr.SetCompatibility{Level: sr.CompatFull}, subject)[0].Err)
	refused("not empty", p.DeleteContext(p.ctx, name), 422, 42211)
	for _, how := range []sr.DeleteHow{sr.SoftDelete, sr.HardDelete} {
		got[[]int]("delete")(inside.DeleteSubject(inside.ctx, subject, how))
	}
	done("delete the context", p.DeleteContext(p.ctx, name))
	equal("gone", slices.Contains(got[[]string]("contexts")(p.Contexts(p.ctx)), name), false)
}

func modes(p place) {
	subject := p.subject("value")
	global := p.Mode(p.ctx)[0]
	done("global", global.Err)
	equal("global", global.Mode, sr.ModeReadWrite)
	refused("none of its own", p.Mode(p.ctx, subject)[0].Err, 404, 40409)
	equal("defaulted", p.Mode(p.with(sr.DefaultToGlobal), subject)[0].Mode, sr.ModeReadWrite)
	refused("an id", failed(p.RegisterSchema(p.ctx, subject, avro(order), 1_000_000, 7)), 422, 42205)
	done("import", p.SetMode(p.ctx, sr.ModeImport, subject)[0].Err)
	id := got[int]("with an id")(p.RegisterSchema(p.ctx, subject, avro(order), 1_000_000, 7))
	equal("with an id", id, 1_000_000)
	equal("with a version", got[[]int]("versions")(p.SubjectVersions(p.ctx, subject)), []int{7})
	made := got[sr.SubjectSchema]("create")(p.CreateSchemaWithIDAndVersion(p.ctx, subject, avro(priced), 1_000_001, 9))
	equal("with both", []any{made.ID, made.Version}, []any{1_000_001, 9})
	done("read only", p.SetMode(p.ctx, sr.ModeReadOnly, subject)[0].Err)
	equal("read only", p.Mode(p.ctx, subject)[0].Mode, sr.ModeReadOnly)
	refused("read only", p.DeleteSchema(p.ctx, subject, 7, sr.SoftDelete), 422, 42205)
	refused("import again", p.SetMode(p.ctx, sr.ModeImport, subject)[0].Err, 422, 42205)
	done("by force", p.SetMode(p.with(sr.Force), sr.ModeImport, subject)[0].Err)
	done("reset", p.ResetMode(p.ctx, subject)[0].Err)
	refused("reset", p.Mode(p.ctx, subject)[0].Err, 404, 40409)
	done("global", p.SetMode(p.ctx, sr.ModeReadOnly)[0].Err)
	refused("global", failed(p.RegisterSchema(p.ctx, p.subject("other"), avro(order), -1, -1)), 422, 42205)
	done("reset global", p.ResetMode(p.ctx)[0].Err)
	equal("global", p.Mode(p.ctx)[0].Mode, sr.ModeReadWrite)
}

// serde: frames that the client writes with the registry's ids.
func serde(p place) {
	type row struct {
		ID int `json:"id"`
	}
	made := got[sr.SubjectSchema]("create")(p.CreateSchema(p.ctx, p.subject("value"), avro(order)))
	codec := sr.NewSerde()
	codec.Register(made.ID, row{}, sr.EncodeFn(json.Marshal), sr.DecodeFn(json.Unmarshal))
	frame := got[[]byte]("encode")(codec.Encode(row{ID: 7}))
	var read row
	done("decode", codec.Decode(frame, &read))
	equal("read", read, row{ID: 7})
	id, _, err := codec.DecodeID(frame)
	done("id", err)
	same("the frame's schema", got[sr.Schema]("by id")(p.SchemaByID(p.ctx, id)).Schema, order)
}

func attempt(check func(place), p place) (problem any) {
	defer func() { problem = recover() }()
	check(p)
	return nil
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "go run . REGISTRY [CHECK...]")
		os.Exit(2)
	}
	client, err := sr.NewClient(sr.URLs(os.Args[1]))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	checks := []struct {
		name  string
		check func(place)
	}{
		{"types", types}, {"subjects", subjects}, {"schemas", schemas}, {"lookup", lookup},
		{"compatibility", compatibility}, {"levels", levels}, {"deletions", deletions},
		{"references", references}, {"serde", serde}, {"metadata", metadata},
		{"configurations", configurations}, {"guids", guids}, {"contexts", contexts}, {"modes", modes},
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	status := 0
	for _, each := range checks {
		if wanted := os.Args[2:]; len(wanted) > 0 && !slices.Contains(wanted, each.name) {
			continue
		}
		if problem := attempt(each.check, place{client, ctx, each.name}); problem != nil {
			fmt.Printf("FAILED %s: %v\n", each.name, problem)
			status = 1
		} else {
			fmt.Printf("ok %s\n", each.name)
		}
	}
	os.Exit(status)
}
