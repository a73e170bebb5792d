// crd-check does to custom resources what the Kubernetes API server does, with its own code: the
// definitions are validated as when they are created (structural schema, defaults, CEL rules and
// their cost), and objects as when they are stored (defaults, schema, list keys, CEL rules).
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

type input struct {
	Definitions []v1.CustomResourceDefinition `json:"definitions"`
	// Objects of the first definition.
	Objects []map[string]any `json:"objects"`
}

type output struct {
	Definitions [][]string       `json:"definitions"`
	Errors      [][]string       `json:"errors"`
	Objects     []map[string]any `json:"objects"`
}

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	var in input
	// The API server's decoder: whole numbers stay integers, as CEL needs them.
	text, err := os.ReadFile("/dev/stdin")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	out := output{}
	for i := range in.Definitions {
		definition, err := internal(scheme, &in.Definitions[i])
		if err != nil {
			return err
		}
		errs := crdvalidation.ValidateCustomResourceDefinition(context.Background(), definition)
		out.Definitions = append(out.Definitions, lines(errs))
		if i > 0 {
			continue
		}
		check, err := checker(definition)
		if err != nil {
			return err
		}
		for _, object := range in.Objects {
			out.Errors = append(out.Errors, lines(check(object)))
		}
	}
	out.Objects = in.Objects
	text, err = json.Marshal(out)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}

func internal(scheme *runtime.Scheme, external *v1.CustomResourceDefinition) (*apiextensions.CustomResourceDefinition, error) {
	scheme.Default(external)
	definition := &apiextensions.CustomResourceDefinition{}
	if err := scheme.Convert(external, definition, nil); err != nil {
		return nil, err
	}
	// The API server writes this before it validates.
	definition.Status.StoredVersions = []string{definition.Spec.Versions[0].Name}
	return definition, nil
}

// checker makes what the storage of a custom resource runs on a new object, defaults first.
func checker(definition *apiextensions.CustomResourceDefinition) (func(map[string]any) field.ErrorList, error) {
	version := definition.Spec.Versions[0].Name
	props, err := apiextensions.GetSchemaForVersion(definition, version)
	if err != nil {
		return nil, err
	}
	if props == nil {
		return nil, fmt.Errorf("%s has no schema", version)
	}
	structural, err := schema.NewStructural(props.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(props.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	rules := cel.NewValidator(structural, true, celconfig.PerCallLimit)
	return func(object map[string]any) field.ErrorList {
		defaulting.Default(object, structural)
		errs := validation.ValidateCustomResource(nil, object, validator)
		errs = append(errs, listtype.ValidateListSetsAndMaps(nil, structural, object)...)
		if len(errs) > 0 {
			// As in the API server: rules see only objects that fit the schema.
			return errs
		}
		failed, _ := rules.Validate(context.Background(), nil, structural, object, nil, celconfig.RuntimeCELCostBudget)
		return failed
	}, nil
}

func lines(errs field.ErrorList) []string {
	text := []string{}
	for _, err := range errs {
		text = append(text, err.Error())
	}
	return text
}
